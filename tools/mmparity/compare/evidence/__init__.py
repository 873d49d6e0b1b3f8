# SPDX-License-Identifier: Apache-2.0
"""What a result shows beside its rows: coverage, structure, replaced code."""
