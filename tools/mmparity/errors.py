# SPDX-License-Identifier: Apache-2.0
"""What a user can mend, as one exception."""

from __future__ import annotations

from mmparity.result_types import PatchText as PatchText
from mmparity.result_types import ReplacedCode as ReplacedCode
from mmparity.result_types import Reuse as Reuse
from mmparity.result_types import ReusedTrace as ReusedTrace
from mmparity.trace_types import TRACE_VERSION as TRACE_VERSION
from mmparity.trace_types import Counts as Counts
from mmparity.trace_types import Side as Side
from mmparity.trace_types import TensorRecord as TensorRecord
from mmparity.trace_types import TraceMeta as TraceMeta
from mmparity.trace_types import Unmatched as Unmatched
from mmparity.verdicts import Verdict as Verdict


class MmparityError(Exception):
    """Something the user can mend; the message says what, where and what next."""
