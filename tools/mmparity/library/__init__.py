# SPDX-License-Identifier: Apache-2.0
"""The harness for a program or a notebook; ``import mmparity`` has all of it."""
