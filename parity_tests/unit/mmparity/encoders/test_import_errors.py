# SPDX-License-Identifier: Apache-2.0
"""A vLLM that cannot be imported: what it lacks, or what of its Python is broken."""

from __future__ import annotations

import re
import sys
import types

import pytest

from mmparity.encoders.import_errors import importing
from mmparity.errors import MmparityError
from mmparity.workload.implementations import get

PLACE = "/venv/lib/python3.11/site-packages"
CUDA = "libcudart.so.12: cannot open shared object file: No such file or directory"
AUDIO = f"Could not load this library: {PLACE}/torchaudio/lib/_torchaudio.abi3.so"
LACKS = "imports a vLLM without what is looked for: .*Releases from 0.11 to 0.33"
BROKEN = r"cannot import its own vLLM: .*Try `\S+ -c 'import vllm'`"
REMOVE = "torchaudio does not load there: remove it .*uninstall .*torchaudio`. or inst"


def caused(error: Exception) -> Exception:
    error.__cause__ = OSError(AUDIO)
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ModuleNotFoundError("No module", name="vllm.attention.layers"), LACKS),
        (ImportError("cannot import name", name="vllm.utils"), LACKS),
        (AttributeError("no Tower", obj=types.ModuleType("vllm.models.x")), LACKS),
        (ModuleNotFoundError("No module", name="regex"), BROKEN),
        (ModuleNotFoundError("No module", name="vllm2.attention"), BROKEN),
        (ImportError(CUDA), BROKEN),
        (ImportError(CUDA, name="vllm._C", path=f"{PLACE}/vllm/_C.abi3.so"), BROKEN),
        (OSError(f"{PLACE}/torch/lib/libtorch_cuda.so: undefined symbol"), BROKEN),
        (OSError(AUDIO), REMOVE),
        (caused(ImportError("requirements?", name="transformers.audio")), REMOVE),
        (caused(RuntimeError("Failed to import transformers.audio_utils")), REMOVE),
    ],
    ids=repr,
)
def test_what_stops_an_installed_vllm_is_named_with_the_next_step(
    error: Exception, said: str
) -> None:
    with pytest.raises(MmparityError) as caught, importing(get("installed"), {}):
        raise error
    assert re.search(said, str(caught.value), re.DOTALL), caught.value
    assert ("Releases" in str(caught.value)) == (said == LACKS)
    assert str(caught.value).startswith(sys.executable)


def test_a_release_s_packages_are_those_of_the_project() -> None:
    with (
        pytest.raises(MmparityError, match=r"from TREE: .* `make setup` installs"),
        importing(get("vllm-0.12.0"), {"vllm": "TREE"}),
    ):
        raise OSError(AUDIO)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device", "trace.safetensors"),
        AttributeError("no norm1", obj=object()),
        RuntimeError("shapes differ"),
    ],
)
def test_what_is_no_matter_of_imports_is_left_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, importing(get("installed"), {}):
        raise error
    assert caught.value is error
