"""Read notebooks and the parameters that they take."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from sernb import utils


class ParameterError(ValueError):
    """A parameter that the notebook does not have, of another type than its default, or out of range."""


class RunError(RuntimeError):
    """A notebook that cannot be read, that failed (with where to read how), or whose run was cancelled."""


def import_nbformat() -> ModuleType:
    """Import nbformat without a grammar of web addresses, which takes two seconds and is not used for notebooks.

    nbformat imports jsonschema, which builds the grammar if `rfc3987_syntax` is installed. JupyterLab installs it.
    """
    hide = "rfc3987_syntax" not in sys.modules
    if hide:
        sys.modules["rfc3987_syntax"] = None  # jsonschema takes it for not installed
    try:
        import nbformat
    finally:
        if hide:
            del sys.modules["rfc3987_syntax"]
    return nbformat


def find_notebook(name: str | Path) -> Path:
    """Return a notebook's path: as it is given, or that of one of sernb's own.

    Args:
        name: A path, or the name of a notebook of sernb, such as `03_paper_replication`; one that is not
            found is returned unchanged.
    """
    file = Path(name) if str(name).endswith(".ipynb") else Path(f"{name}.ipynb")
    candidates = (Path(name), utils.find_resource(file), utils.find_resource(Path("notebooks", file)))
    return next((path for path in candidates if path.is_file()), Path(name))


def read_notebook(path: Path) -> Any:
    """Read a notebook.

    Raises:
        RunError: There is no file at this path, or it is not a notebook.
    """
    nbformat = import_nbformat()
    if not path.is_file():
        raise RunError(f"{path}: there is no such notebook")
    try:
        return nbformat.read(path, as_version=4)
    except Exception as error:  # nbformat's own, jsonschema's, json's: there is no common class
        raise RunError(f"{path} is not a notebook: {str(error).splitlines()[0][:200]}") from error


def notebook_code(path: Path) -> str:
    """Return the code of a notebook's cells as one Python text, with IPython's magics turned into calls."""
    from IPython.core.inputtransformer2 import TransformerManager

    sources = [cell.source for cell in read_notebook(path).cells if cell.cell_type == "code"]
    code = "\n".join(map(TransformerManager().transform_cell, sources))
    try:
        utils.parse_code(code)
    except SyntaxError:
        return ""  # running it will show where
    return code


def uses_tensorflow(path: Path) -> bool:
    """Return whether a notebook probably uses TensorFlow.

    It does if it imports TensorFlow, Keras, or a package of sernb that trains or loads networks.
    """
    names = set()
    for node in ast.walk(utils.parse_code(notebook_code(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return any(re.match(r"(tensorflow|keras|sernb\.(models|lab))\b", name or "") for name in names)


# parameters


def cell_tags(cell: Any) -> list[str]:
    """Return the tags of a notebook's cell."""
    return cell.metadata.get("tags", [])


def assignments(source: str) -> dict[str, ast.expr]:
    """Return the name and the value of each plain assignment in a cell's source."""
    values = {}
    for node in utils.parse_code(source).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            values[node.targets[0].id] = node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            values[node.target.id] = node.value
    return values


def notebook_parameters(notebook: Path) -> dict[str, Any]:
    """Return what a notebook's cell tagged `parameters` assigns, in its order; empty if there is no such cell.

    Raises:
        RunError: See `read_notebook`.
        ParameterError: The cell assigns a value that is not a literal.
    """
    cells = [cell for cell in read_notebook(notebook).cells if "parameters" in cell_tags(cell)]
    try:
        values = {name: value for cell in cells for name, value in assignments(cell.source).items()}
        return {name: ast.literal_eval(value) for name, value in values.items()}
    except (SyntaxError, ValueError) as error:
        raise ParameterError(f"{notebook}: the cell tagged `parameters` may hold literals only ({error})") from error


def parse_parameters(notebook: Path, texts: dict[str, str]) -> dict[str, Any]:
    """Turn parameters typed as text into values: YAML 1.2, but plain text where the default is text (`75:15:10`)."""
    defaults = notebook_parameters(notebook)
    return {name: _parse_value(text, defaults.get(name)) for name, text in texts.items()}


def _parse_value(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    try:
        return utils.parse_yaml(text)
    except ValueError:
        return text
