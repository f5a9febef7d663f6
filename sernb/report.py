"""Floor 5: the runs that `book/runs.yml` lists become pages, and the pages a book.

Nothing here is kept by hand: the contents follow from the list of runs, each run's page is its executed notebook, and
the built pages are read again before a book is said to be there.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from sernb import runs
from sernb import sweeps
from sernb.plots import CAPTIONED

CONFIG = "_config.yml"
PAGE_KEYS = {"page"}
RUN_KEYS = {"name", "notebook", "title", "parameters"}
FETCHED = {"script", "img", "audio", "video", "source", "iframe", "embed", "object", "track", "link"}
FETCHED_LINKS = {"stylesheet", "preload", "modulepreload", "preconnect", "dns-prefetch", "icon", "manifest"}
# Comments of prose pages that are replaced by links.
USED_IN = re.compile(r"^% chapters that use sernb\.(\w+)$", flags=re.MULTILINE)
LAUNCH = re.compile(r"^% launch$", flags=re.MULTILINE)
# What is no running text: code, roles, links, headings, tables.
NO_PROSE = re.compile(
    r"(```.*?```|\{[\w:-]+\}`[^`]*`|`[^`]*`|\[[^\]]*\]\([^)]*\)|^#[^\n]*|^\|[^\n]*)", flags=re.MULTILINE | re.DOTALL
)
WIDE = {"wide": 720, "middling": 530}  # pixels of the page
EVERYDAY = ("chance",)
BROKEN = ("Traceback (most recent call last)", "Executing", "An Exception was encountered at")


class ReportError(RuntimeError):
    """A list of runs that cannot be read, runs that failed, or a book with broken pages."""


@dataclass(frozen=True)
class Chapter:
    """A page of the book: prose, or a notebook and the parameters of its run."""

    name: str
    source: Path
    title: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether the page is a notebook, to be run."""
        return self.source.suffix == ".ipynb"


@dataclass(frozen=True)
class Book:
    """What a list of runs says: the first page (if not named, the first chapter), then parts of chapters."""

    root: Path
    folder: Path
    first: Chapter
    parts: list[tuple[str, list[Chapter]]]

    @property
    def chapters(self) -> list[Chapter]:
        """Every page in reading order."""
        return [self.first, *(chapter for _, chapters in self.parts for chapter in chapters)]


# the list of runs


def read_runs(runs_file: Path) -> Book:
    """Read a list of runs and check it whole: keys, files, names and parameters.

    Pages are looked up beside the list, notebooks in the project's folder: the nearest of the list's folder, the one
    above it and the working directory that holds `_config.yml`.

    Raises:
        ReportError: The list is wrong; the message says where.
        ParameterError: A run's parameters are.
    """
    runs_file = Path(runs_file).absolute()
    listed = _load(runs_file)
    root = _root(runs_file.parent)
    try:
        if strange := set(listed) - {"first", "parts"}:
            raise ReportError(f"it takes `first` and `parts`, not {', '.join(sorted(strange))}")
        parts = [
            (part["caption"], [_chapter(entry, runs_file.parent, root) for entry in part["chapters"]])
            for part in listed["parts"]
        ]
        first = _chapter({"page": listed["first"]}, runs_file.parent, root) if "first" in listed else parts[0][1].pop(0)
        book = Book(root, runs_file.parent, first, [part for part in parts if part[1]])
    except (KeyError, TypeError, IndexError) as error:
        raise ReportError(f"{runs_file}: it takes `parts` of `caption` and `chapters`: {error!r}") from error
    except ReportError as error:
        raise ReportError(f"{runs_file}: {error}") from error
    _check_names(runs_file, book)
    for chapter in filter(lambda chapter: chapter.runs, book.chapters):
        runs.validate(chapter.source, chapter.parameters)
    return book


def _load(runs_file: Path) -> Any:
    try:
        return runs.read_yaml(runs_file)
    except (OSError, ValueError) as error:
        raise ReportError(f"{runs_file} cannot be read: {error}") from error


def _root(folder: Path) -> Path:
    for candidate in (folder, folder.parent, Path.cwd()):
        if (candidate / CONFIG).is_file():
            return candidate
    raise ReportError(f"there is no {CONFIG} in {folder}, in the folder above it or in {Path.cwd()}")


def _chapter(entry: dict[str, Any], folder: Path, root: Path) -> Chapter:
    if "page" in entry:
        _check_keys(entry, PAGE_KEYS, PAGE_KEYS)
        return Chapter(Path(entry["page"]).stem, _existing(folder / entry["page"]))
    _check_keys(entry, RUN_KEYS, RUN_KEYS - {"parameters"})
    return Chapter(
        str(entry["name"]), _existing(root / entry["notebook"]), entry["title"], entry.get("parameters") or {}
    )


def _check_keys(entry: dict[str, Any], known: set[str], needed: set[str]) -> None:
    if set(entry) - known or needed - set(entry):
        raise ReportError(f"the chapter {entry} has the keys {', '.join(entry)}; it takes {', '.join(sorted(known))}")


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ReportError(f"there is no {path}")
    return path


def _check_names(runs_file: Path, book: Book) -> None:
    names = [chapter.name for chapter in book.chapters]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise ReportError(f"{runs_file}: the name {name!r} cannot name a page; letters, digits, . _ - can")
        if names.count(name) > 1:
            raise ReportError(f"{runs_file}: two pages are named {name}")


# runs into pages


def build(runs_file: Path, output_dir: Path, *, workers: int = 0) -> Path:
    """Make the runs that are not fresh, turn them into pages, build the book and check it.

    Args:
        runs_file: The list of runs, such as `book/runs.yml`.
        output_dir: Where the runs (`runs/`), the book's source (`src/`) and the book (`html/`) go.
        workers: How many runs at a time; 0 leaves it to `sweeps.run_all`.

    Returns:
        The book's first page.

    Raises:
        ReportError: The list is wrong, runs failed or a page is broken; the book of an earlier report stays as it was.
    """
    book, output_dir = read_runs(runs_file), Path(output_dir).absolute()
    _make_runs(book, output_dir, workers)
    source = stage(book, output_dir)
    built = _render(source, output_dir)
    if problems := list(check(built, book)):
        raise ReportError("\n".join(["the book has broken pages:", *problems, f"(to look at: {built})"]))
    _lighten(built)
    shutil.rmtree(output_dir / "html", ignore_errors=True)
    shutil.move(built, output_dir / "html")
    return output_dir / "html" / "index.html"


def _make_runs(book: Book, output_dir: Path, workers: int) -> None:
    jobs = [
        runs.Job(chapter.source, output_dir / "runs" / chapter.name, chapter.parameters, book.root)
        for chapter in book.chapters
        if chapter.runs
    ]
    failed = [outcome for outcome in sweeps.run_all(jobs, workers=workers) if outcome.status == "failed"]
    if failed:
        lines = [f"{outcome.job.output_dir.name}: {outcome.error}" for outcome in failed]
        raise ReportError("\n".join([f"{len(failed)} of {len(jobs)} runs failed, so no book was built:", *lines]))


def stage(book: Book, output_dir: Path) -> Path:
    """Put together what Jupyter Book reads: pages, contents, configuration, references; returns the folder."""
    source = output_dir / "src"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for chapter in book.chapters:
        _stage_page(chapter, book, output_dir, source)
    for extra in [*book.folder.glob("*.bib"), *book.folder.glob("_static"), *book.root.glob("CHANGELOG.md")]:
        shutil.copytree(extra, source / extra.name) if extra.is_dir() else shutil.copy(extra, source)
    (source / "references.bib").touch()  # the configuration names it, and a list of one's own may have none
    shutil.copy(book.root / CONFIG, source)
    (source / "_toc.yml").write_text(yaml.safe_dump(contents(book), sort_keys=False), encoding="utf-8")
    return source


def contents(book: Book) -> dict[str, Any]:
    """The book's table of contents as Jupyter Book reads it."""
    parts = [
        {"caption": caption, "chapters": [{"file": chapter.name} for chapter in chapters]}
        for caption, chapters in book.parts
    ]
    # A book of one page has no parts, and Jupyter Book takes an empty list of them for an old format.
    return {"format": "jb-book", "root": book.first.name, **({"parts": parts} if parts else {})}


def _stage_page(chapter: Chapter, book: Book, output_dir: Path, source: Path) -> None:
    import nbformat

    target = source / f"{chapter.name}{chapter.source.suffix}"
    if not chapter.runs:
        text = chapter.source.read_text(encoding="utf-8")
        text = USED_IN.sub(lambda match: _used_in(match[1], book), text)
        target.write_text(LAUNCH.sub(_launch(book), text), encoding="utf-8")
        return
    notebook = runs.read_notebook(output_dir / "runs" / chapter.name / chapter.source.name)
    _show_parameters(notebook)
    _strip_papermill(notebook)
    notebook.cells = [part for cell in notebook.cells for part in _figures_apart(cell)]
    _mark_wide(notebook)
    _link_terms(notebook, _terms(book))
    if chapter.title:
        _set_title(notebook, chapter.title)
        notebook.cells.append(nbformat.v4.new_markdown_cell(_command(chapter, book.root) + _helpers(chapter)))
    nbformat.write(nbformat.v4.upgrade(notebook), target)


def _show_parameters(notebook: Any) -> None:
    """Let the parameters' cell show the values that ran; the cell that papermill injected then says nothing new."""
    injected = [cell for cell in notebook.cells if "injected-parameters" in runs.tags(cell)]
    for cell in notebook.cells:
        if "parameters" in runs.tags(cell) and injected:
            cell.source = _with_values(cell.source, runs.assignments(injected[0].source))
    notebook.cells = [cell for cell in notebook.cells if cell not in injected]


def _with_values(source: str, values: dict[str, ast.expr]) -> str:
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


def _figures_apart(cell: Any) -> list[Any]:
    """A cell whose figures have captions, as one cell a figure: MyST-NB reads a caption from a cell's metadata."""
    outputs = cell.get("outputs", [])
    if not any(_told(output) for output in outputs):
        return [cell]
    alt = cell.metadata.pop("mystnb", {}).get("image", {}).get("alt", "")
    cell.source = _without_captions(cell.source)
    parts, cell.outputs = [cell], []
    for output in outputs:
        told = _told(output)
        if told:
            figure = {"figure": {"caption": told["caption"]}, "image": {"alt": told["alt"] or alt}}
            parts += [_only_output(output, {"mystnb": figure})]
        elif told is None:  # neither a figure nor its caption, which is there for JupyterLab
            parts += [_only_output(output, {})] if len(parts) > 1 else []
            cell.outputs += [output] if len(parts) == 1 else []
    return parts


def _without_captions(source: str) -> str:
    """A cell's source without the calls of `plots.caption`: their text stands under the picture."""
    lines = source.split("\n")
    for body in [node.body for node in ast.walk(ast.parse(source)) if isinstance(getattr(node, "body", None), list)]:
        for line in body if len(body) > 1 else []:
            call = getattr(line, "value", None)
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "plots.caption":
                lines[line.lineno - 1 : line.end_lineno] = [""] * (line.end_lineno - line.lineno + 1)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def _told(output: Any) -> dict[str, str] | None:
    return output.get("metadata", {}).get(CAPTIONED)


def _only_output(output: Any, metadata: dict[str, Any]) -> Any:
    import nbformat

    # MyST-NB leaves out a cell without source, with all its outputs.
    return nbformat.v4.new_code_cell("# output", metadata={"tags": ["remove-input"], **metadata}, outputs=[output])


def _mark_wide(notebook: Any) -> None:
    """Tell the style sheet which pictures a phone should not shrink to its own width."""
    for cell in notebook.cells:
        sizes = [output.get("metadata", {}).get("image/png", {}) for output in cell.get("outputs", [])]
        widest = max((size.get("width", 0) for size in sizes), default=0)
        if kind := next((kind for kind, least in WIDE.items() if widest > least), ""):
            cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["classes"] = kind


def _terms(book: Book) -> list[str]:
    """The words of the book's glossary, if it has one, but for those that are everyday words as well."""
    pages = [chapter.source for chapter in book.chapters if chapter.source.name == "glossary.md"]
    found = re.findall(r"^(\S.*)\n  \S", pages[0].read_text(encoding="utf-8"), flags=re.MULTILINE) if pages else []
    return [term for term in found if term not in EVERYDAY]


def _link_terms(notebook: Any, terms: list[str]) -> None:
    """Lead from the first use of each term in a notebook's prose to the glossary, if the notebook does not itself."""
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    linked = "".join(re.findall(r"\{term\}`[^`]*`", "".join(cell.source for cell in prose)))
    for term in terms:
        if f"`{term}`" not in linked and f"<{term}>" not in linked:
            next((cell for cell in prose if _link_first(cell, term)), None)


def _link_first(cell: Any, term: str) -> bool:
    spelt = r"\s".join(map(re.escape, term.split()))
    word = re.compile(rf"(?<![\w-]){spelt}s?(?![\w-])", re.IGNORECASE)
    parts = NO_PROSE.split(cell.source)  # every second one is to be left alone
    for i, part in enumerate(parts[::2]):
        if match := word.search(part):
            link = f"{{term}}`{' '.join(match[0].split())} <{term}>`"
            parts[2 * i] = part[: match.start()] + link + part[match.end() :]
            cell.source = "".join(parts)
            return True
    return False


def _set_title(notebook: Any, title: str) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and re.search(r"^# ", cell.source, flags=re.MULTILINE):
            cell.source = re.sub(r"^# .*$", lambda _: f"# {title}", cell.source, count=1, flags=re.MULTILINE)
            return
    raise ReportError(f"the notebook of the page {title!r} has no first-level heading to replace")


def _command(chapter: Chapter, root: Path) -> str:
    words = ["sernb", "run", chapter.source.relative_to(root).as_posix()]
    for name, value in chapter.parameters.items():
        # Where a corpus lies is a machine's affair, and may say whose it is.
        value = "FOLDER" if runs.is_folder(name) else value
        words += ["-p", name, value if isinstance(value, str) else json.dumps(value)]
    return f":::{{admonition}} This page as a command\n:class: note\n```\n{shlex.join(words)}\n```\n:::"


def _imported(notebook: Path) -> list[str]:
    """The modules of `sernb` that a notebook imports; empty for prose."""
    if notebook.suffix != ".ipynb":
        return []
    cells = [cell.source for cell in runs.read_notebook(notebook).cells if cell.cell_type == "code"]
    return sorted(set(re.findall(r"^from sernb import (\w+)", "\n".join(cells), flags=re.MULTILINE)))


def _helpers(chapter: Chapter) -> str:
    """The modules behind a chapter; a book without an API reference shows their names and no links."""
    names = ", ".join(f"{{py:mod}}`sernb.{name}`" for name in _imported(chapter.source))
    return f"\n\nHelpers of this chapter: {names}." if names else ""


def _used_in(module: str, book: Book) -> str:
    """The chapters that show a module at work; of several runs of one notebook the first."""
    first: dict[Path, str] = {}
    for chapter in book.chapters:
        first.setdefault(chapter.source, chapter.name)
    links = [f"{{doc}}`{name}`" for source, name in first.items() if module in _imported(source)]
    return f"At work in: {', '.join(links)}." if links else ""


def _launch(book: Book) -> str:
    """Links that open the book's notebooks elsewhere: only a build on GitHub knows of which repository."""
    if not (repository := os.environ.get("GITHUB_REPOSITORY")):
        return "(This copy of the book was not built on GitHub: it knows no repository to link to.)"
    sources = {chapter.source.relative_to(book.root).as_posix() for chapter in book.chapters if chapter.title}
    binder, colab = "https://mybinder.org/v2/gh", "https://colab.research.google.com/github"
    return "\n".join(
        f"- `{source}`: [Binder]({binder}/{repository}/HEAD?labpath={source}), "
        f"[Colab]({colab}/{repository}/blob/main/{source})"
        for source in sorted(sources)
    )


# pages into a book


def _render(source: Path, output_dir: Path) -> Path:
    """Build the HTML; a Sphinx warning is an error, since a warned-of page is a broken one."""
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command = [*jupyter_book, "build", str(source)]
    options = ["--path-output", str(output_dir / "sphinx"), "--all", "-W", "--keep-going", "-q"]
    shutil.rmtree(output_dir / "sphinx", ignore_errors=True)
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ReportError(f"the book could not be built:\n{done.stdout.strip()[-3000:]}")
    return output_dir / "sphinx" / "_build" / "html"


def _lighten(html: Path) -> None:
    """Halve a book: its pages offer notebooks without outputs for download, and debuggers get no maps of scripts."""
    import nbformat

    for file in html.rglob("*.map"):
        file.unlink()
    for file in (html / "_sources").rglob("*.ipynb"):
        notebook = runs.read_notebook(file)
        for cell in notebook.cells:
            cell.update({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {})
        nbformat.write(notebook, file)


# the book is read again


def check(html: Path, book: Book) -> Iterator[str]:
    """What is wrong with a built book, a line each: pages missing or broken, players without sound, network use."""
    for chapter in book.chapters:
        page = html / f"{chapter.name}.html"
        if not page.is_file():
            yield f"{page.name}: the page is missing"
            continue
        yield from (f"{page.name}: {problem}" for problem in _page_problems(page))
    for sheet in html.rglob("*.css"):
        if re.search(r"(url\(|@import)\s*['\"]?(https?:)?//", sheet.read_text(encoding="utf-8", errors="replace")):
            yield f"{sheet.relative_to(html)}: fetches from the network"


def _page_problems(page: Path) -> Iterator[str]:
    reader = PageReader()
    reader.feed(page.read_text(encoding="utf-8"))
    yield from (f"it says {words!r}" for words in BROKEN if words in reader.text)
    if reader.silent:
        yield f"{reader.silent} audio players without sound"
    for address in reader.fetched:
        if re.match(r"(https?:)?//", address):
            yield f"it fetches {address} from the network"
        elif not address.startswith(("data:", "blob:", "#")) and not _beside(page, address).is_file():
            yield f"{address} is missing"


def _beside(page: Path, address: str) -> Path:
    return page.parent / unquote(re.split(r"[?#]", address)[0])


class PageReader(HTMLParser):
    """What a page says (`words`), what a browser fetches to show it (`fetched`), how many players are `silent`."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.fetched: list[str] = []
        self.silent = 0
        self._open = {"script": False, "style": False, "audio": False}
        self._sounds = False

    @property
    def text(self) -> str:
        """All that a reader reads."""
        return "".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element fetches."""
        found = {name: value or "" for name, value in attrs}
        address = found.get({"link": "href", "object": "data"}.get(tag, "src"), "")
        if address and tag in FETCHED and (tag != "link" or FETCHED_LINKS & set(found.get("rel", "").split())):
            self.fetched.append(address)
        if tag == "audio":
            self._sounds = False
        self._open |= {tag: True} if tag in self._open else {}
        self._sounds |= bool(address) and self._open["audio"]

    def handle_endtag(self, tag: str) -> None:
        """Leave a script, a style or a player."""
        self._open |= {tag: False} if tag in self._open else {}
        self.silent += tag == "audio" and not self._sounds

    def handle_data(self, data: str) -> None:
        """Collect what a reader reads."""
        if not (self._open["script"] or self._open["style"]):
            self.words.append(data)
