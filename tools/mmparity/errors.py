# SPDX-License-Identifier: Apache-2.0
"""What a user can mend, as one exception."""

from __future__ import annotations

from mmparity.types.evidence import PatchText as PatchText
from mmparity.types.evidence import ReplacedCode as ReplacedCode
from mmparity.types.evidence import Reuse as Reuse
from mmparity.types.evidence import ReusedTrace as ReusedTrace
from mmparity.types.trace import TRACE_VERSION as TRACE_VERSION
from mmparity.types.trace import Counts as Counts
from mmparity.types.trace import Side as Side
from mmparity.types.trace import TensorRecord as TensorRecord
from mmparity.types.trace import TraceMeta as TraceMeta
from mmparity.types.trace import Unmatched as Unmatched
from mmparity.types.verdict import Verdict as Verdict


class MmparityError(Exception):
    """Something the user can mend; the message says what, where and what next."""
