# SPDX-License-Identifier: Apache-2.0
"""Whether Python source does something: patterns of code, found in its syntax.

A word in a comment, a string or another function is no code that does it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

_ANY = "_"
Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def scope_of(source: str, name: str) -> Scope | None:
    """The class or function of a dotted name; the module for no name.

    Raises:
        SyntaxError: the source is not Python of this version.
    """
    scope: Scope = ast.parse(source)
    for part in filter(None, name.split(".")):
        inner = [
            node
            for node in _inside(scope)
            if isinstance(node, _SCOPES) and node.name == part
        ]
        if not inner:
            return None
        scope = inner[-1]
    return scope


def _inside(scope: ast.AST) -> Iterator[ast.AST]:
    """What is in a scope itself, also under a condition, and not in a scope of it."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, _SCOPES):
            yield from _inside(child)


def has(scope: Scope, pattern: str) -> int:
    """The line at which a pattern occurs in a scope, 0 where it does not.

    `_` stands for any expression, `...` among arguments for any further ones. Keywords
    of a call may stand in any order.

    Raises:
        SyntaxError: the pattern is no expression and no statement.
    """
    wanted: ast.AST = ast.parse(pattern).body[0]
    if isinstance(wanted, ast.Expr):
        wanted = wanted.value
    for node in ast.walk(scope):
        if _same(wanted, node):
            return getattr(node, "lineno", 0)
    return 0


def takes(scope: Scope, parameter: str) -> int:
    """The line of a function that has a parameter, 0 where it has not."""
    if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return 0
    args = scope.args
    names = [a.arg for a in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
    return scope.lineno if parameter in names else 0


def _same(wanted: object, node: object) -> bool:
    if isinstance(wanted, ast.Name) and wanted.id == _ANY:
        return isinstance(node, ast.expr)
    if type(wanted) is not type(node):
        return False
    if isinstance(wanted, ast.Call):
        assert isinstance(node, ast.Call)
        return _same_call(wanted, node)
    if isinstance(wanted, list):
        assert isinstance(node, list)
        return len(wanted) == len(node) and all(map(_same, wanted, node))
    if isinstance(wanted, ast.AST):
        fields = [name for name in wanted._fields if name not in ("ctx", "kind")]
        return all(_same(getattr(wanted, f), getattr(node, f, None)) for f in fields)
    return wanted == node


def _same_call(wanted: ast.Call, node: ast.Call) -> bool:
    if not _same(wanted.func, node.func):
        return False
    rest = any(_is_rest(arg) for arg in wanted.args)
    args = [arg for arg in wanted.args if not _is_rest(arg)]
    if not rest and (len(args), len(wanted.keywords)) != (
        len(node.args),
        len(node.keywords),
    ):
        return False
    return _begins(args, node.args) and all(
        any(k.arg == n.arg and _same(k.value, n.value) for n in node.keywords)
        for k in wanted.keywords
    )


def _begins(args: Sequence[ast.expr], found: Sequence[ast.expr]) -> bool:
    return len(args) <= len(found) and all(
        _same(one, other) for one, other in zip(args, found, strict=False)
    )


def _is_rest(arg: ast.expr) -> bool:
    return isinstance(arg, ast.Constant) and arg.value is ...
