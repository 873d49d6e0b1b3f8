# SPDX-License-Identifier: Apache-2.0
"""What a recorder hands its tensors to."""

from __future__ import annotations

from typing import Protocol

import torch


class Sink(Protocol):
    """Where a capture goes; ``trace.writer.TraceWriter`` is one.

    NaN and infinity are found where tensors are read again, or reduced.
    """

    def add(
        self,
        hook_point: str,
        tensor: torch.Tensor,
        path: str,
        transforms: tuple[str, ...] = (),
        error: str | None = None,
    ) -> None:
        """Takes a copy of one canonical tensor."""

    def unmatched(self, path: str, reason: str, explained: bool) -> None:
        """Takes note of what is no hook point."""
