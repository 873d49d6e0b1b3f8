# SPDX-License-Identifier: Apache-2.0
"""Two running endpoints side by side: the same answers, and how fast.

`endpoint` asks, `measure` asks both in turn, `judge` compares two answers, `result`
and `report` say it. `servers` starts `vllm serve` of a side for it.
"""
