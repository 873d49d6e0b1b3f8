# SPDX-License-Identifier: Apache-2.0
"""A series onto a tree and out of it again, and edited commits back to the series."""
