# SPDX-License-Identifier: Apache-2.0
"""What a user can mend, as one exception."""

from __future__ import annotations


class MmparityError(Exception):
    """Something the user can mend; the message says what, where and what next."""
