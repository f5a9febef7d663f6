"""Pages of the API reference, one per package, made from its exports and docstrings."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import sernb
from sernb import utils


def package_sources() -> list[Path]:
    """Return the file that defines each package's public names, in the order of `sernb.PACKAGES`."""
    folder = Path(sernb.__file__).parent
    files = [(folder / f"{name}.py", folder / name / "__init__.py") for name in sernb.PACKAGES]
    return [module if module.is_file() else package for module, package in files]


def package_name(source: Path) -> str:
    """Return the name of the package that a file of `package_sources` defines, such as `corpora`."""
    return source.parent.name if source.name == "__init__.py" else source.stem


def reference_page(source: Path, links: str = "") -> str:
    """Return the page of a package, as MyST Markdown: per module a summary, then every public function and class.

    The page of `sernb.cli` has the help of each command instead.

    Args:
        source: One of `package_sources`.
        links: What to show below the package's docstring.
    """
    package = f"sernb.{package_name(source)}"
    parts = [f"# {package}", _rst(f".. automodule:: {package}", "   :no-members:"), links]
    if package == "sernb.cli":
        return "\n\n".join([*filter(None, parts), _command_help(package)])
    for module, names in _public_names(source):
        tree = utils.parse_code(module.read_text(encoding="utf-8"))
        if module != source:
            parts += [f"## {module.stem}", ast.get_docstring(tree) or ""]
        parts += _module_section(package, tree, names)
    return "\n\n".join(part for part in parts if part) + "\n"


def _command_help(package: str) -> str:
    """Return the help of each command of a Typer app, as Markdown: the functions' signatures would say less."""
    from typer import Context
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    command = get_command(importlib.import_module(package).app)
    text = get_docs_for_click(obj=command, ctx=Context(command), name="sernb")
    return text[text.index("\n## ") :]  # without the shortened list of commands


def _public_names(source: Path) -> Iterator[tuple[Path, set[str]]]:
    """Yield each module of a package with the names that the package exports from it, without those of others."""
    tree = utils.parse_code(source.read_text(encoding="utf-8"))
    if source.name != "__init__.py":
        yield source, {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        return
    exports: dict[Path, set[str]] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module.startswith(f"sernb.{package_name(source)}."):
            module = source.with_name(f"{node.module.rpartition('.')[2]}.py")
            exports.setdefault(module, set()).update(alias.name for alias in node.names)
    yield from exports.items()


def _module_section(package: str, tree: ast.Module, names: set[str]) -> list[str]:
    public = {name for name in names if not name.startswith("_")}
    defined = [node for node in tree.body if getattr(node, "name", "") in public]
    constants = sorted(f"`{name}`" for name in public - {node.name for node in defined})
    summary = [f".. currentmodule:: {package}", ".. autosummary::", "   :nosignatures:", ""]
    entries = [f".. {_directive(node)}:: {package}.{node.name}" for node in defined]
    return [
        _rst(*summary, *(f"   {node.name}" for node in defined)) if defined else "",
        f"Constants: {', '.join(constants)}" if constants else "",
        _rst(*entries) if entries else "",
    ]


def _directive(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef):
        return "autofunction"
    return "autoexception" if node.name.endswith("Error") else "autoclass"


def _rst(*lines: str) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```"])
