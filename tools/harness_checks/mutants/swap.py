# SPDX-License-Identifier: Apache-2.0
"""Edits code that is already imported, by exchanging the code of functions.

Whoever holds a function, under whatever name or inside whatever decorator,
runs the edited code from then on. An edit of anything else than the body of a
function would have no effect on what is imported, so it is refused.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import CodeType, FunctionType


class SwapError(ValueError):
    """The edit cannot be carried out on running code."""


def swap(file: str, before: str, after: str) -> tuple[str, ...]:
    """Makes the functions of ``file`` run ``after``; returns the names edited."""
    pairs = list(_edited(compile(before, file, "exec"), compile(after, file, "exec")))
    if not pairs:
        raise SwapError(f"{file}: the edit changes no function")
    functions = _functions_of(file)
    for old, new in pairs:
        found = functions.get(_key(old), [])
        if not found:
            raise SwapError(f"{file}: {old.co_name} is not imported")
        for function in found:
            function.__code__ = new
    return tuple(old.co_name for old, _ in pairs)


def _edited(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """Outermost functions that differ, inside modules and classes that do not."""
    olds, news = _nested(old), _nested(new)
    names = [code.co_name for code in olds], [code.co_name for code in news]
    if names[0] != names[1] or _shallow(old) != _shallow(new):
        raise SwapError(f"{old.co_filename}: {old.co_name}: edited outside a function")
    for before, after in zip(olds, news, strict=True):
        if _is_class(before):
            yield from _edited(before, after)
        elif _shallow(before) != _shallow(after) or _deep(before) != _deep(after):
            yield before, after


def _functions_of(file: str) -> dict[tuple[str, int], list[FunctionType]]:
    functions: dict[tuple[str, int], list[FunctionType]] = {}
    for item in gc.get_objects():
        if type(item) is FunctionType and item.__code__.co_filename == file:
            functions.setdefault(_key(item.__code__), []).append(item)
    return functions


def _key(code: CodeType) -> tuple[str, int]:
    return code.co_name, code.co_firstlineno


def _is_class(code: CodeType) -> bool:
    return "__qualname__" in code.co_names and "__module__" in code.co_names


def _nested(code: CodeType) -> list[CodeType]:
    return [item for item in code.co_consts if isinstance(item, CodeType)]


def _shallow(code: CodeType) -> tuple[object, ...]:
    constants = [
        (type(item), item) for item in code.co_consts if not isinstance(item, CodeType)
    ]
    return code.co_code, code.co_names, code.co_varnames, repr(constants)


def _deep(code: CodeType) -> list[object]:
    return [(_shallow(item), _deep(item)) for item in _nested(code)]
