# SPDX-License-Identifier: Apache-2.0
"""Dumps that other tools made, as traces."""
