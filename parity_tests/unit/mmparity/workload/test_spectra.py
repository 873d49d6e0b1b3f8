# SPDX-License-Identifier: Apache-2.0
"""Seeded values with trained spectra, tensor by tensor."""

from __future__ import annotations

import pytest
import torch

from mmparity.workload import spectra
from mmparity.workload.spectra import Tower, values

TOWER = Tower(width=320, heads=4)
QKV = "blocks.3.attn.qkv.weight"


def test_quantiles_are_those_of_the_table() -> None:
    drawn = spectra.quantiles("x", spectra.K_BIAS, 200_000, TOWER)
    shares = torch.tensor(spectra.AT[1:-1])
    known = torch.tensor(spectra.K_BIAS[1:-1])
    assert torch.allclose(drawn.quantile(shares), known, atol=0.01, rtol=0.05)
    assert drawn.abs().max() <= 45.0


def test_the_same_few_channels_are_large_in_every_block() -> None:
    largest = set()
    for name in ("blocks.0.mlp.down_proj.weight", "blocks.9.attn.proj.weight"):
        rows = values(name, (320, 320), TOWER).float().norm(dim=1)
        largest.add(int(rows.argmax()))
        assert rows.max() > 5 * rows.median()
    assert len(largest) == 1


def test_q_and_k_look_at_few_directions_of_each_head() -> None:
    weight = values(QKV, (960, 320), TOWER).double()
    for third in (weight[:320], weight[320:640]):
        sizes = torch.linalg.svdvals(third[:80])
        assert sizes[spectra.RANK - 1] > 50 * sizes[spectra.RANK]
    sizes = torch.linalg.svdvals(weight[640:720])
    assert sizes[-1] > sizes[0] / 10, "v is not cut"


def test_split_and_fused_projections_have_the_same_values() -> None:
    for parameter, shape in (("weight", (320, 320)), ("bias", (320,))):
        fused = values(f"blocks.3.attn.qkv.{parameter}", (960, *shape[1:]), TOWER)
        parts = [values(f"blocks.3.attn.{p}.{parameter}", shape, TOWER) for p in "qkv"]
        assert torch.equal(fused, torch.cat(parts))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (QKV, (960, 320)),
        ("patch_embed.proj.weight", (320, 3, 2, 14, 14)),
        ("pos_embed.weight", (16, 320)),
        ("merger.norm.bias", (320,)),
        ("deepstack_merger_list.0.norm.weight", (1280,)),
    ],
)
def test_values_are_finite_depend_on_the_seed_and_on_nothing_else(
    name: str, shape: tuple[int, ...]
) -> None:
    first = values(name, shape, TOWER)
    assert first.shape == shape
    assert first.dtype == torch.bfloat16
    assert bool(first.isfinite().all())
    assert torch.equal(first, values(name, shape, TOWER))
    other = Tower(TOWER.width, TOWER.heads, seed=1)
    assert not torch.equal(first, values(name, shape, other))
