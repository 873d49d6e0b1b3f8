# SPDX-License-Identifier: Apache-2.0
"""The schemas of torch_npu's operators, as its own libraries hold them.

They are compared with the libraries of the pinned wheel by a test, so that the
emulation cannot drift from what the real operators accept. Reading them needs
neither torch nor CANN.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

SCHEMAS: dict[str, str] = {
    "npu::npu_rotary_mul": (
        "npu_rotary_mul(Tensor input, Tensor r1, Tensor r2, "
        "str rotary_mode='half') -> Tensor"
    ),
    "atb::_npu_flash_attention_unpad": (
        "_npu_flash_attention_unpad(Tensor query, Tensor key, Tensor value, "
        "Tensor seq_len, float scale_value, int num_heads, int num_kv_heads, "
        "Tensor(a!) out) -> ()"
    ),
    "npu::npu_format_cast": (
        "npu_format_cast(Tensor input, int acl_format, "
        "int? customize_dtype=None) -> Tensor"
    ),
    "npu::npu_rms_norm": (
        "npu_rms_norm(Tensor input, Tensor gamma, float epsilon=1e-06) "
        "-> (Tensor, Tensor)"
    ),
    "npu::npu_add_rms_norm": (
        "npu_add_rms_norm(Tensor x1, Tensor x2, Tensor gamma, "
        "float epsilon=1e-06) -> (Tensor, Tensor, Tensor)"
    ),
    "npu::npu_swiglu": "npu_swiglu(Tensor input, int dim=-1) -> Tensor",
    "npu::npu_fast_gelu": "npu_fast_gelu(Tensor input) -> Tensor",
    "npu::npu_quantize": (
        "npu_quantize(Tensor input, Tensor scales, Tensor? zero_points, "
        "ScalarType dtype, int axis=1, bool div_mode=True) -> Tensor"
    ),
    "npu::npu_quant_matmul": (
        "npu_quant_matmul(Tensor x1, Tensor x2, Tensor scale, *, "
        "Tensor? offset=None, Tensor? pertoken_scale=None, Tensor? bias=None, "
        "ScalarType? output_dtype=None, SymInt[]? group_sizes=None) -> Tensor"
    ),
}
"""``namespace::operator`` -> schema, of releases 2.8.0.post2 and 2.9.0."""
_2_10: dict[str, str] = {
    **{
        name: SCHEMAS[name]
        for name in (
            "npu::npu_rms_norm",
            "npu::npu_add_rms_norm",
            "npu::npu_swiglu",
            "npu::npu_fast_gelu",
        )
    },
    "npu::npu_rotary_mul": (
        "npu_rotary_mul(Tensor input, Tensor r1, Tensor r2, "
        "str rotary_mode='half', Tensor? rotate=None) -> Tensor"
    ),
    "npu::npu_format_cast": (
        "npu_format_cast(Tensor input, int acl_format, *, "
        "int? customize_dtype=None, int? input_dtype=None) -> Tensor"
    ),
    "npu::npu_fused_infer_attention_score": (
        "npu_fused_infer_attention_score(Tensor query, Tensor key, Tensor value, *, "
        "Tensor? pse_shift=None, Tensor? atten_mask=None, "
        "SymInt[]? actual_seq_lengths=None, SymInt[]? actual_seq_lengths_kv=None, "
        "Tensor? dequant_scale1=None, Tensor? quant_scale1=None, "
        "Tensor? dequant_scale2=None, Tensor? quant_scale2=None, "
        "Tensor? quant_offset2=None, Tensor? antiquant_scale=None, "
        "Tensor? antiquant_offset=None, Tensor? key_antiquant_scale=None, "
        "Tensor? key_antiquant_offset=None, Tensor? value_antiquant_scale=None, "
        "Tensor? value_antiquant_offset=None, Tensor? block_table=None, "
        "Tensor? query_padding_size=None, Tensor? kv_padding_size=None, "
        "Tensor? key_shared_prefix=None, Tensor? value_shared_prefix=None, "
        "SymInt[]? actual_shared_prefix_len=None, Tensor? query_rope=None, "
        "Tensor? key_rope=None, Tensor? key_rope_antiquant_scale=None, "
        "int num_heads=1, float scale=1.0, int pre_tokens=2147483647, "
        'int next_tokens=2147483647, str input_layout="BSH", '
        "int num_key_value_heads=0, int sparse_mode=0, int inner_precise=0, "
        "int block_size=0, int antiquant_mode=0, int key_antiquant_mode=0, "
        "int value_antiquant_mode=0, bool softmax_lse_flag=False) "
        "-> (Tensor, Tensor)"
    ),
}
"""Without those of W8A8, which no implementation of that release runs here."""
RELEASES = {"2.8.0.post2": SCHEMAS, "2.9.0": SCHEMAS, "2.10.0.post4": _2_10}
"""Release of torch_npu -> the schemas of the operators that are emulated of it."""

_LIBRARIES = {"npu": "lib/libtorch_npu.so", "atb": "lib/libop_plugin_atb.so"}


def schemas_in_wheel(source: Path, names: Iterable[str]) -> dict[str, str]:
    """The schemas of the operators ``names`` as a torch_npu wheel holds them.

    An operator that the wheel does not have, or has under more than one schema of
    that name, is left out.

    Args:
        source: the wheel, or the folder it was unpacked to.
        names: operators as ``namespace::operator``.
    """
    libraries = {
        namespace: _read(source, f"torch_npu/{library}")
        for namespace, library in _LIBRARIES.items()
    }
    found: dict[str, str] = {}
    for qualified in names:
        namespace, name = qualified.split("::")
        schemas = _schemas(libraries[namespace], name)
        if len(schemas) == 1:
            found[qualified] = schemas.pop()
    return found


def _read(source: Path, member: str) -> bytes:
    if source.is_dir():
        return (source / member).read_bytes()
    with zipfile.ZipFile(source) as wheel:
        return wheel.read(member)


def _schemas(library: bytes, name: str) -> set[str]:
    """Zero-terminated strings that start as the schema of ``name`` does."""
    pattern = rb"\x00(" + name.encode() + rb"\([\x20-\x7e]* -> [\x20-\x7e]+)\x00"
    return {match.decode("ascii") for match in re.findall(pattern, library)}
