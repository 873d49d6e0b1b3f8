# SPDX-License-Identifier: Apache-2.0
"""The catalogue judged by other tools, each with its own dump and its own verdict.

``msprobe`` and ``sglang`` run the tools, ``places`` says which hook points a row of
theirs shows, ``trial`` runs them in a fork, ``table`` is what docs/mutants.md says.
"""
