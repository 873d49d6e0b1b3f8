# SPDX-License-Identifier: Apache-2.0
"""One process: it builds an encoder, runs it and records what it computes."""
