# SPDX-License-Identifier: Apache-2.0
"""An attribute of an object, or an entry of a mapping, that is another for a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MISSING = object()


def value_of(owner: Any, name: str) -> Any:
    """The attribute, or the entry where there is no such attribute."""
    return getattr(owner, name) if hasattr(owner, name) else owner[name]


@contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Puts ``value`` in place of an attribute or an entry, and takes it out again.

    What only the class has is shadowed on the instance and not copied to it.
    """
    if not hasattr(owner, name):  # a mapping
        before = owner[name]
        owner[name] = value
        try:
            yield
        finally:
            del owner[name]
            if owner.get(name) is not before:
                owner[name] = before
        return
    before = vars(owner).get(name, _MISSING)
    object.__setattr__(owner, name, value)
    try:
        yield
    finally:
        if before is _MISSING:
            object.__delattr__(owner, name)
        else:
            object.__setattr__(owner, name, before)
