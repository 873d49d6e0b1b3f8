# SPDX-License-Identifier: Apache-2.0
"""Which lines of the encoders no default case executes, and why that may be.

``reasons`` compares what was executed with ``reasons.toml``, ``measure`` runs the
default cases, ``command`` prints.
"""
