"""What is done to a run's notebook before it is a page: its values, its figures, its links, its title."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from typing import Any

from sernb import display
from sernb import runs

# What is no running text: code, roles, links, headings, tables.
NOT_PROSE = re.compile(
    r"(```.*?```|\{[\w:-]+\}`[^`]*`|`[^`]*`|\[[^\]]*\]\([^)]*\)|^#[^\n]*|^\|[^\n]*)", flags=re.MULTILINE | re.DOTALL
)
HEADING = re.compile(r"^# .*$", flags=re.MULTILINE)
WIDE_IMAGE = {"wide": 720, "middling": 560}  # pixels of the page
WORDY_CELL = re.compile(r"<td>([^<\xa0]{29,})</td>")  # of a table, against numbers and unbroken intervals
# pandas names the columns in one row and the index in another.
TABLE_HEADS = re.compile(
    r"(<thead>\s*<tr[^>]*>)((?:(?!</tr>).)*)</tr>\s*<tr>((?:(?!</tr>).)*)(</tr>\s*</thead>)", re.DOTALL
)


def make_page(notebook: Any, *, title: str = "", terms: Sequence[str] = ()) -> None:
    """Make an executed notebook a page, in place.

    Args:
        notebook: As `runs.read_notebook` returns it.
        title: Of the page, in place of the notebook's own, if given.
        terms: Words of the glossary, each of which is linked where it is used first.

    Raises:
        ValueError: There is a title, and no heading to put it in place of.
    """
    show_parameters(notebook)
    _strip_papermill(notebook)
    notebook.cells = [part for cell in notebook.cells for part in split_figures(cell)]
    _mark_wide(notebook)
    _tidy_tables(notebook)
    link_terms(notebook, terms)
    if title:
        _set_title(notebook, title)


# values


def show_parameters(notebook: Any) -> None:
    """Let the parameters' cell show the values that ran; the cell that papermill injected then says nothing new."""
    injected = [cell for cell in notebook.cells if "injected-parameters" in runs.cell_tags(cell)]
    for cell in notebook.cells:
        if "parameters" in runs.cell_tags(cell) and injected:
            cell.source = _insert_values(cell.source, runs.assignments(injected[0].source))
    notebook.cells = [cell for cell in notebook.cells if cell not in injected]


def _insert_values(source: str, values: dict[str, ast.expr]) -> str:
    """Replace the values that a cell's source assigns, comments untouched; folders keep their default."""
    text = source.encode()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = sorted(runs.assignments(source).items(), key=lambda item: -item[1].lineno)
    for name, node in found:
        if name in values and not name.endswith("_DIR") and ast.unparse(values[name]) != ast.unparse(node):
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            text = text[:begin] + ast.unparse(values[name]).encode() + text[end:]
    return text.decode()


def _strip_papermill(notebook: Any) -> None:
    """Remove papermill's notes: they hold this machine's paths, which a published page should not."""
    for part in [notebook, *notebook.cells]:
        part.metadata.pop("papermill", None)


# figures and tables


def split_figures(cell: Any) -> list[Any]:
    """A cell whose figures have captions, as one cell a figure: MyST-NB reads a caption from a cell's metadata."""
    every = cell.get("outputs", [])
    if not any(map(_caption_of, every)) and (cell.cell_type != "code" or "plots.caption" not in cell.source):
        return [cell]
    # What `display.caption` tells JupyterLab below a figure has nothing to tell here.
    outputs = [output for output in every if _caption_of(output) != {}]
    first = next((i for i, output in enumerate(outputs) if _caption_of(output)), len(outputs))
    alt = cell.metadata.pop("mystnb", {}).get("image", {}).get("alt", "")
    cell.source, cell.outputs = _without_captions(cell.source), outputs[:first]
    return [cell, *(_figure_output(output, alt) for output in outputs[first:])]


def _caption_of(output: Any) -> dict[str, str] | None:
    """What `display.caption` says of an output: of a figure its caption, of the caption nothing, of others None."""
    return output.get("metadata", {}).get(display.CAPTIONED)


def _figure_output(output: Any, alt: str) -> Any:
    import nbformat

    metadata: dict[str, Any] = {"tags": ["remove-input"]}
    if told := _caption_of(output):
        metadata["mystnb"] = {"figure": {"caption": told["caption"]}, "image": {"alt": told["alt"] or alt}}
    # MyST-NB leaves out a cell without source, with all its outputs.
    return nbformat.v4.new_code_cell("# output", metadata=metadata, outputs=[output])


def _without_captions(source: str) -> str:
    """A cell's source without the calls of `display.caption`: their text stands under the picture."""
    lines = source.split("\n")
    for body in [node.body for node in ast.walk(ast.parse(source)) if isinstance(getattr(node, "body", None), list)]:
        for line in body if len(body) > 1 else []:
            call = getattr(line, "value", None)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "plots.caption":
                lines[line.lineno - 1 : line.end_lineno] = [""] * (line.end_lineno - line.lineno + 1)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _mark_wide(notebook: Any) -> None:
    """Tell the style sheet which pictures a phone should not shrink to its own width."""
    for cell in notebook.cells:
        sizes = [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]
        widest = max((size.get("width", 0) for size in sizes), default=0)
        if kind := next((kind for kind, least in WIDE_IMAGE.items() if widest > least), ""):
            cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["classes"] = kind


def _tidy_tables(notebook: Any) -> None:
    """Give tables one row of names, and tell the style sheet which cells hold words: beside numbers they need room."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if "text/html" in output.get("data", {}):
            one_head = TABLE_HEADS.sub(_merge_header_rows, output.data["text/html"])
            output.data["text/html"] = WORDY_CELL.sub(r'<td class="words">\1</td>', one_head)


def _merge_header_rows(rows: re.Match[str]) -> str:
    """The two rows as one, unless a column has a name in both."""
    above, below = (re.findall(r"<th[^>]*>.*?</th>", row, re.DOTALL) for row in (rows[2], rows[3]))
    empty = "<th></th>"
    if len(above) != len(below) or any(empty not in pair for pair in zip(above, below, strict=True)):
        return rows[0]
    merged = [one if one != empty else other for one, other in zip(above, below, strict=True)]
    return "\n      ".join([rows[1], *merged]) + f"\n    {rows[4]}"


# prose


def link_terms(notebook: Any, terms: Sequence[str]) -> None:
    """Lead from the first use of each term in a notebook's prose to the glossary, if the notebook does not itself."""
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    linked = "".join(re.findall(r"\{term\}`[^`]*`", "".join(cell.source for cell in prose)))
    for term in terms:
        if f"`{term}`" not in linked and f"<{term}>" not in linked:
            next((cell for cell in prose if _link_first(cell, term)), None)


def _link_first(cell: Any, term: str) -> bool:
    spelt = r"\s".join(map(re.escape, term.split()))
    word = re.compile(rf"(?<![\w-]){spelt}s?(?![\w-])", re.IGNORECASE)
    parts = NOT_PROSE.split(cell.source)  # every second one is to be left alone
    for i, part in enumerate(parts[::2]):
        if match := word.search(part):
            link = f"{{term}}`{' '.join(match[0].split())} <{term}>`"
            parts[2 * i] = part[: match.start()] + link + part[match.end() :]
            cell.source = "".join(parts)
            return True
    return False


def has_title(notebook: Any) -> bool:
    """Whether a notebook has a first-level heading."""
    return any(cell.cell_type == "markdown" and HEADING.search(cell.source) for cell in notebook.cells)


def _set_title(notebook: Any, title: str) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and HEADING.search(cell.source):
            cell.source = HEADING.sub(lambda _: f"# {title}", cell.source, count=1)
            return
    raise ValueError(f"the notebook of the page {title!r} has no first-level heading to replace")
