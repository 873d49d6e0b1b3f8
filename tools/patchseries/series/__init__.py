# SPDX-License-Identifier: Apache-2.0
"""A series as data: its files, its rules, its tables, and commits as patch files."""
