"""An executed notebook becomes a page: its parameters, figures, tables, links and title."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from bs4 import BeautifulSoup
from bs4 import Tag

from sernb import display
from sernb import runs
from sernb import utils

# Not running text: code, roles, links, headings, tables.
NOT_PROSE = re.compile(
    r"(```.*?```|\{[\w:-]+\}`[^`]*`|`[^`]*`|\[[^\]]*\]\([^)]*\)|^#[^\n]*|^\|[^\n]*)", flags=re.MULTILINE | re.DOTALL
)
NOTEBOOK_LINK = re.compile(r"\[[^\]]*\]\(([\w.-]+\.ipynb)\)")
HEADING = re.compile(r"^# .*$", flags=re.MULTILINE)
WIDE_IMAGE = {"wide": 720, "middling": 560}  # by CSS class: the least width of an image, in pixels of the page
MIN_TEXT_LENGTH = 29  # characters: shorter cells of a table contain numbers and intervals


def make_page(
    notebook: Any,
    *,
    title: str = "",
    terms: Sequence[str] = (),
    pages: Mapping[str, str] | None = None,
    fold_code: bool = False,
) -> None:
    """Turn an executed notebook into a page, in place.

    Args:
        notebook: As `runs.read_notebook` returns it.
        title: The page's title, which replaces the notebook's own; empty to keep that.
        terms: Words of the glossary, each of which is linked where it is first used.
        pages: The book's page of each notebook, by the notebook's file name.
        fold_code: Whether code is shown only on a click.

    Raises:
        ValueError: There is a title, but no heading that it could replace.
    """
    show_parameters(notebook)
    _strip_papermill(notebook)
    _move_demo_notice(notebook)
    notebook.cells = [part for cell in notebook.cells for part in split_figures(cell)]
    _mark_wide(notebook)
    _tidy_tables(notebook)
    _link_pages(notebook, pages or {})
    link_terms(notebook, terms)
    if fold_code:
        _fold_code(notebook)
    if title:
        _set_title(notebook, title)


# values


def show_parameters(notebook: Any) -> None:
    """Show the values that ran in the parameters cell, and remove the cell that papermill injected."""
    injected = [cell for cell in notebook.cells if "injected-parameters" in runs.cell_tags(cell)]
    for cell in notebook.cells:
        if "parameters" in runs.cell_tags(cell) and injected:
            cell.source = _insert_values(cell.source, runs.assignments(injected[0].source))
    notebook.cells = [cell for cell in notebook.cells if cell not in injected]


def _insert_values(source: str, values: dict[str, ast.expr]) -> str:
    """Replace the values that a cell's source assigns; comments stay, and folders keep their default."""
    text = source.encode()
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    last_first = sorted(runs.assignments(source).items(), key=lambda item: -item[1].lineno)
    for name, node in last_first:
        if name in values and not name.endswith("_DIR") and ast.unparse(values[name]) != ast.unparse(node):
            begin = starts[node.lineno - 1] + node.col_offset
            end = starts[node.end_lineno - 1] + node.end_col_offset
            text = text[:begin] + ast.unparse(values[name]).encode() + text[end:]
    return text.decode()


def _strip_papermill(notebook: Any) -> None:
    """Remove papermill's metadata: it contains paths of this machine, which must not be published."""
    for part in [notebook, *notebook.cells]:
        part.metadata.pop("papermill", None)


def _move_demo_notice(notebook: Any) -> None:
    """Move the notice that a page is about synthetic speech to the top, below the title."""
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        for output in outputs:
            if (notice := output.get("data", {}).get("text/markdown", "")).startswith(display.DEMO_NOTICE):
                outputs.remove(output)
                heading = next(cell for cell in notebook.cells if HEADING.search(cell.source))
                title = HEADING.search(heading.source)[0]
                heading.source = heading.source.replace(title, f"{title}\n\n{notice}", 1)
                return


# figures and tables


def split_figures(cell: Any) -> list[Any]:
    """Split a cell into one cell per figure with a caption: MyST-NB reads a caption from a cell's metadata."""
    outputs = cell.get("outputs", [])
    if not any(map(_caption_of, outputs)) and (cell.cell_type != "code" or "caption(" not in cell.source):
        return [cell]
    outputs = [output for output in outputs if _caption_of(output) != {}]  # {}: the text below a figure in JupyterLab
    first = next((i for i, output in enumerate(outputs) if _caption_of(output)), len(outputs))
    alt = cell.metadata.pop("mystnb", {}).get("image", {}).get("alt", "")
    cell.source, cell.outputs = _without_captions(cell.source), outputs[:first]
    return [cell, *(_figure_output(output, alt) for output in outputs[first:])]


def _caption_of(output: Any) -> dict[str, str] | None:
    """Return the metadata of `display.caption`: caption and alt text of a figure, {} for its text, None for others."""
    return output.get("metadata", {}).get(display.CAPTIONED)


def _figure_output(output: Any, alt: str) -> Any:
    import nbformat

    metadata: dict[str, Any] = {"tags": ["remove-input"]}
    if caption := _caption_of(output):
        metadata["mystnb"] = {"figure": {"caption": caption["caption"]}, "image": {"alt": caption["alt"] or alt}}
    # MyST-NB omits a cell without source together with its outputs.
    return nbformat.v4.new_code_cell("# output", metadata=metadata, outputs=[output])


def _without_captions(source: str) -> str:
    """Return a cell's source without the calls of `display.caption`, whose text is printed below the figure."""
    lines = source.split("\n")
    bodies = (getattr(node, "body", None) for node in ast.walk(utils.parse_code(source)))
    for body in (body for body in bodies if isinstance(body, list)):
        for line in body if len(body) > 1 else []:
            call = getattr(line, "value", None)
            if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == "caption":
                lines[line.lineno - 1 : line.end_lineno] = [""] * (line.end_lineno - line.lineno + 1)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _mark_wide(notebook: Any) -> None:
    """Give wide images a CSS class, so that a phone does not shrink them to its own width."""
    for cell in notebook.cells:
        sizes = [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]
        widest = max((size.get("width", 0) for size in sizes), default=0)
        if kind := next((kind for kind, least in WIDE_IMAGE.items() if widest > least), ""):
            cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["classes"] = kind


def _tidy_tables(notebook: Any) -> None:
    """Give tables a single header row, and mark the cells that contain text: beside numbers they need room."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        if "<table" in (html := output.get("data", {}).get("text/html", "")):
            soup = BeautifulSoup(html, "html.parser")
            for table in soup("table"):
                _merge_header_rows(table)
                for cell in table("td"):
                    if _contains_text(cell):
                        cell["class"] = "words"
            output.data["text/html"] = str(soup)


def _contains_text(cell: Tag) -> bool:
    """Return whether a table's cell contains plain text, not a number, an unbroken interval or other elements."""
    plain = not cell.attrs and not cell.find()
    return plain and len(cell.text) >= MIN_TEXT_LENGTH and "\N{NO-BREAK SPACE}" not in cell.text


def _merge_header_rows(table: Tag) -> None:
    """Merge pandas' two header rows, the columns' names and the index's, unless a column has a name in both."""
    rows = [row("th") for row in table.select("thead > tr")]
    if len(rows) != 2 or len(rows[0]) != len(rows[1]):
        return
    pairs = list(zip(*rows, strict=True))
    if all("" in (upper.text, lower.text) for upper, lower in pairs):
        for upper, lower in pairs:
            if lower.text:
                upper.replace_with(lower)
        table.select("thead > tr")[1].decompose()


def _fold_code(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code" and "remove-input" not in runs.cell_tags(cell):
            cell.metadata["tags"] = [*dict.fromkeys([*runs.cell_tags(cell), "hide-input"])]


# prose


def _link_pages(notebook: Any, pages: Mapping[str, str]) -> None:
    """Turn links to other notebooks into links to their pages, or into their names where the book has no such page."""

    def replacement(match: re.Match[str]) -> str:
        """Return a link to the page of a notebook, or its name if the book does not have it."""
        return f"{{doc}}`{pages[match[1]]}`" if match[1] in pages else f"`{match[1]}`"

    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = NOTEBOOK_LINK.sub(replacement, cell.source)


def link_terms(notebook: Any, terms: Sequence[str]) -> None:
    """Link the first use of each term in a notebook's prose to the glossary, unless the notebook does so itself."""
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    linked = "".join(re.findall(r"\{term\}`[^`]*`", "".join(cell.source for cell in prose)))
    for term in terms:
        if f"`{term}`" not in linked and f"<{term}>" not in linked:
            next((cell for cell in prose if _link_first(cell, term)), None)


def _link_first(cell: Any, term: str) -> bool:
    spelt = r"\s".join(map(re.escape, term.split()))
    word = re.compile(rf"(?<![\w-]){spelt}s?(?![\w-])", re.IGNORECASE)
    parts = NOT_PROSE.split(cell.source)  # every second part is not prose
    for i, part in enumerate(parts[::2]):
        if match := word.search(part):
            link = f"{{term}}`{' '.join(match[0].split())} <{term}>`"
            parts[2 * i] = part[: match.start()] + link + part[match.end() :]
            cell.source = "".join(parts)
            return True
    return False


def has_title(notebook: Any) -> bool:
    """Return whether a notebook has a first-level heading."""
    return any(cell.cell_type == "markdown" and HEADING.search(cell.source) for cell in notebook.cells)


def _set_title(notebook: Any, title: str) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and HEADING.search(cell.source):
            cell.source = HEADING.sub(lambda _: f"# {title}", cell.source, count=1)
            return
    raise ValueError(f"the notebook of the page {title!r} has no first-level heading to replace")
