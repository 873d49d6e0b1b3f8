# SPDX-License-Identifier: Apache-2.0
"""Puts what both tools read beside their code into the wheel: patches and pins."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
BUNDLE = "vllm_encoder_parity"
"""The folder beside both packages that stands for a checkout."""


class BuildWithData(build_py):
    """Not in an editable install, whose files are those of the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        bundle = Path(self.build_lib) / BUNDLE
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(
            HERE / "patches", bundle / "patches", ignore=lambda _, names: hidden(names)
        )
        (bundle / "vllm_src").mkdir()
        pins = Path("vllm_src/sources.toml")
        shutil.copyfile(HERE / pins, bundle / pins)


def hidden(names: list[str]) -> list[str]:
    """Locks and journals of commands."""
    return [name for name in names if name.startswith(".")]


setup(cmdclass={"build_py": BuildWithData})
