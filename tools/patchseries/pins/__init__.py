# SPDX-License-Identifier: Apache-2.0
"""Pinned archives, downloaded, verified and unpacked as pristine trees."""
