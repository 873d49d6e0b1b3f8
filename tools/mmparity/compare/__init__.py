# SPDX-License-Identifier: Apache-2.0
"""Traces in, a result out: pairs of hook points, metrics, tolerances, verdicts."""
