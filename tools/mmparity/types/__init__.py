# SPDX-License-Identifier: Apache-2.0
"""The data that travels through the harness, as frozen dataclasses."""
