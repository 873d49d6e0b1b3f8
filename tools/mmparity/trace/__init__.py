# SPDX-License-Identifier: Apache-2.0
"""A trace on disk: its names and layouts, its format, its writer and its reader."""
