"""Digests of the code that a result depends on: functions, modules or cells, and what they use within their package."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import os
import sys
import textwrap
import threading
import time
import types
import uuid
from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sernb.utils.text import text_digest

WHOLE = ""  # stands for the name of a definition: all of a module
STARTED, PROCESS = time.time(), uuid.uuid4().hex
_PARSER = threading.RLock()
PLAIN = bool | int | float | str | bytes | None


def parse_code(code: str) -> ast.Module:
    """Parse Python code like `ast.parse`, but in one thread at a time.

    In CPython 3.11, `ast.parse` raises SystemError if another thread parses at the same moment. Calls by other
    libraries are not protected.
    """
    with _PARSER:
        return ast.parse(code)


def source_digest(functions: Iterable[Callable]) -> str:
    """Return a digest of the running code of some functions and of everything in their package that they use.

    Comments, docstrings and layout do not count. Names are followed through imports and re-exports; what is looked up
    at run time by a string is not seen. A file that was changed after this process started may no longer hold the code
    that runs: the digest is then valid in this process only.

    For a function written in a notebook, the functions and plain values of the notebook that it uses count, and the
    versions of other packages. If it has no source, or uses any other object of the notebook, its digest is different
    at each call.
    """
    functions = [inspect.unwrap(getattr(function, "func", function)) for function in functions]
    in_files = [function for function in functions if _module_file(function.__module__)]
    starts = {_known(function.__module__, function.__qualname__.split(".")[0]) for function in in_files}
    code: dict[str, str] = {}
    for function in functions:
        if function not in in_files and not _read_notebook_function(function, code, starts):
            return uuid.uuid4().hex
    definitions = _reachable(starts)
    changed = any(os.stat(_module_file(module)).st_mtime > STARTED for module, _ in definitions)
    return _digest(definitions, "".join(f"{name} {code[name]}\n" for name in sorted(code)) + PROCESS * changed)


def _read_notebook_function(function: Callable, code: dict[str, str], starts: set[tuple[str, str]]) -> bool:
    """Add the code of a function without a file, and what it uses, to `code` and `starts`; False if it is unknown."""
    if getattr(function, "__closure__", None):  # values of the function around it
        return False
    try:
        tree = parse_code(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return False
    _remove_docstrings(tree)
    code[function.__qualname__] = code.get(function.__qualname__, "") + ast.dump(tree)  # lambdas share a name
    names = _global_names(function.__code__)
    return all(
        _read_notebook_value(name, function.__globals__[name], attributes, code, starts)
        for name, *attributes in _chains(tree)
        if name in names and name in function.__globals__ and name not in code
    )


def _read_notebook_value(
    name: str, value: object, attributes: Sequence[str], code: dict[str, str], starts: set[tuple[str, str]]
) -> bool:
    """Add what a name of a notebook stands for to `code` or `starts`; return False if a digest cannot tell."""
    module = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None) or ""
    package = module.split(".")[0]
    is_definition = inspect.isroutine(value) or inspect.isclass(value)
    if package == __package__.split(".")[0] and (is_definition or inspect.ismodule(value)):
        attributes = attributes if inspect.ismodule(value) else [value.__qualname__.split(".")[0]]
        starts.add(_resolve(module, attributes) or (module, WHOLE))
    elif inspect.isfunction(value) and not _module_file(module):
        return _read_notebook_function(value, code, starts)
    elif isinstance(value, PLAIN) or isinstance(value, tuple) and all(isinstance(item, PLAIN) for item in value):
        code[name] = repr(value)
    elif inspect.ismodule(value) or is_definition and package != "__main__":
        code[name] = f"{module} {getattr(sys.modules.get(package), '__version__', '')}"
    else:
        return False
    return True


def _global_names(code: types.CodeType) -> set[str]:
    """Return the names that code, and functions defined in it, look up outside of it."""
    inner = [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
    return {*code.co_names}.union(*map(_global_names, inner))


def code_digest(code: str, package: str = "sernb") -> str:
    """Return a digest of what some code, such as a notebook's cells, uses of a package; not of the code itself."""
    imports = _parse("__main__", code, package).imports
    return _digest(_reachable(_targets("__main__", _Module({}, imports), _chains(parse_code(code)))))


def _digest(definitions: dict[tuple[str, str], str], salt: str = "") -> str:
    lines = [f"{module} {name} {code}\n" for (module, name), code in sorted(definitions.items())]
    return text_digest("".join(lines) + salt)


def _reachable(starts: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the code of the definitions, (module, name), that can be reached from some of them."""
    code, todo = {}, list(starts)
    while todo:
        definition = todo.pop()
        if definition not in code:
            file = _module_file(definition[0])
            code[definition], targets = _read_definition(*definition, file, _stamp(file))
            todo += targets
    return code


# one module


@dataclass(frozen=True)
class _Module:
    """The statements that bind each name of a module, and the (module, name) that each of its imports stands for."""

    statements: dict[str, list[ast.stmt]]
    imports: dict[str, tuple[str, str]]


@functools.cache
def _read_definition(module: str, name: str, file: Path, stamp: tuple[int, int]) -> tuple[str, list[tuple[str, str]]]:
    """Return the code that binds a name, without docstrings, and the definitions that it uses."""
    source = _read_module(module, file, stamp)
    statements = source.statements.get(name, [])
    chains = [chain for statement in statements for chain in _chains(statement)]
    if name == WHOLE:
        chains += [[bound] for bound in (*source.statements, *source.imports)]
    return "\n".join(map(ast.dump, statements)), list(_targets(module, source, chains))


def _targets(module: str, source: _Module, chains: Iterable[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield the definitions that names with attributes, used in a module, lead to."""
    for name, *attributes in chains:
        definition = None
        if name in source.statements:
            definition = module, name
        elif name in source.imports:
            target, attribute = source.imports[name]
            definition = _resolve(target, [attribute, *attributes] if attribute else attributes)
        if definition:
            yield definition


def _resolve(module: str, names: Sequence[str]) -> tuple[str, str] | None:
    """Return the definition that `module.name.name` leads to, through submodules and re-exports; None outside."""
    while file := _module_file(module):
        source = _read_module(module, file, _stamp(file))
        if not names or names[0] in source.statements:
            return module, names[0] if names else WHOLE
        name, *names = names
        target = source.imports.get(name, (module, name))
        if target != (module, name):
            module, names = target[0], [target[1], *names] if target[1] else names
        elif _module_file(f"{module}.{name}"):
            module = f"{module}.{name}"
        else:
            return None
    return None


def _known(module: str, name: str) -> tuple[str, str]:
    """Return the definition, or the whole module where it has none of that name (a lambda)."""
    return _resolve(module, [name]) or (module, WHOLE)


def _module_file(module: str | None) -> Path | None:
    package, *names = (module or "__main__").split(".")  # code run by `exec` can have no module
    path = _package_path(package)
    if path is None or not names:
        return path
    inside = path.parent.joinpath(*names)
    return next((file for file in (inside / "__init__.py", inside.with_suffix(".py")) if file.is_file()), None)


@functools.cache
def _package_path(package: str) -> Path | None:
    """Return the file of a top-level package or module; without importing it."""
    if package == "__main__":  # a notebook, or a script whose name is another
        return None
    try:
        spec = importlib.util.find_spec(package)
    except (ValueError, ImportError):
        return None
    return Path(spec.origin) if spec and spec.has_location and str(spec.origin).endswith(".py") else None


def _stamp(file: Path) -> tuple[int, int]:
    status = os.stat(file)
    return status.st_mtime_ns, status.st_size


@functools.cache
def _read_module(module: str, file: Path, stamp: tuple[int, int]) -> _Module:
    return _parse(module, file.read_text(encoding="utf-8"), module.split(".")[0], file.name == "__init__.py")


def _walk_statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements in a node, and those in them: far fewer nodes than with `ast.walk`."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for statement in getattr(node, field, ()):
            yield statement
            yield from _walk_statements(statement)


def _remove_docstrings(tree: ast.Module) -> None:
    for node in _walk_statements(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and _is_docstring(node.body[0]):
            del node.body[0]


def _parse(module: str, text: str, package: str, is_package: bool = False) -> _Module:
    tree, imports = parse_code(text), {}
    _remove_docstrings(tree)
    for node in _walk_statements(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports |= _imported(node, module if is_package else module.rpartition(".")[0])
    statements: dict[str, list[ast.stmt]] = {}
    for statement in tree.body:
        if not isinstance(statement, ast.Import | ast.ImportFrom) and not _is_docstring(statement):
            for name in _bound_names(statement, imports):
                statements.setdefault(name, []).append(statement)
    return _Module(statements, {name: to for name, to in imports.items() if to[0].split(".")[0] == package})


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _bound_names(statement: ast.stmt, imports: Container[str]) -> set[str]:
    """Return the names that a statement binds; if none, those of its module that it uses and may change."""
    if hasattr(statement, "name"):
        return {statement.name}
    nodes = list(ast.walk(statement))
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}
    names = [node for node in nodes if isinstance(node, ast.Name)]
    bound = defined | {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return bound or {node.id for node in names if node.id not in imports} or {WHOLE}


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> dict[str, tuple[str, str]]:
    """Return the (module, name) that each name imported by a statement stands for."""
    if isinstance(node, ast.ImportFrom):
        module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
        return {alias.asname or alias.name: (module, alias.name) for alias in node.names}
    top = [alias.name.split(".")[0] for alias in node.names]
    return {a.asname or name: (a.name if a.asname else name, "") for a, name in zip(node.names, top, strict=True)}


def _chains(node: ast.AST) -> Iterator[list[str]]:
    """Yield each name that code uses, with the attributes that are looked up in it: `a.b.c` as [a, b, c]."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes, node = [node.attr, *attributes], node.value
    if isinstance(node, ast.Name):
        yield [node.id, *attributes]
    for child in ast.iter_child_nodes(node):
        yield from _chains(child)
