# SPDX-License-Identifier: Apache-2.0
"""Bugs planted in the patched trees, to measure what the harness finds.

``catalogue`` is the data, ``swap`` edits running code, ``server`` runs mutants
in forks of a process that has imported vLLM once, ``score`` is the verdict.
"""
