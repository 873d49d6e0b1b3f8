# SPDX-License-Identifier: Apache-2.0
"""vLLM's real engine on a CPU: the same answers on every side, memory that comes back.

Each side runs from its source trees with the compiled library of vLLM's CPU wheel;
`overlay` is how it is started, `checkpoints` what it serves.
"""
