# SPDX-License-Identifier: Apache-2.0
"""Checks of the harness itself: what it finds and what it costs. No part of it."""
