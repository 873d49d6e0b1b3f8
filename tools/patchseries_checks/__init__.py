# SPDX-License-Identifier: Apache-2.0
"""Checks of patchseries that are no part of it."""
