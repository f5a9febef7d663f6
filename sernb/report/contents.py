"""The list of chapters that a book shows, read and checked before anything runs."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from sernb import runs
from sernb import utils
from sernb.report.pages import has_title
from sernb.report.reference import package_name
from sernb.report.reference import package_sources

CONFIG_FILE = "_config.yml"
PAGE_KEYS = {"page"}
REFERENCE_KEYS = {"packages"}
RUN_KEYS = {"name", "notebook", "title", "parameters"}
DOC_LINK = re.compile(r"\{doc\}`(?:[^`<]*<)?([\w.-]+)>?`")
# For each role: the page that it links to, and the directive that this page contains.
REQUIRED_FILES = {"{term}`": ("glossary", "{glossary}"), "{cite": ("references", "{bibliography}")}


class ReportError(RuntimeError):
    """A list of chapters that cannot be read, runs that failed, a folder that is not ours, or broken pages."""


@dataclass(frozen=True)
class Chapter:
    """A page of the book: prose, a notebook with the parameters of its run, or the reference of a package."""

    name: str
    source: Path
    title: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> bool:
        """Whether the page is a notebook, to be run."""
        return self.source.suffix == ".ipynb"

    @property
    def is_reference(self) -> bool:
        """Whether the page is made from a package's docstrings."""
        return self.source.suffix == ".py"


@dataclass(frozen=True)
class Book:
    """The contents of a book: the first page, which may be the first chapter, then parts of chapters."""

    root: Path
    folder: Path
    first: Chapter
    parts: list[tuple[str, list[Chapter]]]

    @property
    def chapters(self) -> list[Chapter]:
        """All pages in reading order."""
        return [self.first, *(chapter for _, chapters in self.parts for chapter in chapters)]


def read_book(runs_file: Path) -> Book:
    """Read a list of chapters and check all of it: keys, files, names and parameters.

    Pages are looked up beside the list, notebooks in the project's folder: the first of the list's folder, its parent
    and the working directory that contains `_config.yml`, or else the files that come with sernb.

    Raises:
        ReportError: The list is wrong; the message says where.
        ParameterError: A parameter of a run is wrong.
    """
    runs_file = Path(runs_file).absolute()
    content = _load_runs(runs_file)
    root = _project_root(runs_file.parent)
    try:
        if unknown := set(content) - {"first", "parts"}:
            raise ReportError(f"unknown key {', '.join(sorted(unknown))}; the list takes `first` and `parts`")
        parts = [
            (part["caption"], [c for entry in part["chapters"] for c in _make_chapters(entry, runs_file.parent, root)])
            for part in content["parts"]
        ]
        if "first" in content:
            (first,) = _make_chapters({"page": content["first"]}, runs_file.parent, root)
        else:
            first = parts[0][1].pop(0)
        book = Book(root, runs_file.parent, first, [part for part in parts if part[1]])
    except (KeyError, TypeError, IndexError) as error:
        raise ReportError(f"{runs_file}: each of `parts` needs a `caption` and `chapters` ({error!r})") from error
    except ReportError as error:
        raise ReportError(f"{runs_file}: {error}") from error
    _check_names(runs_file, book)
    _check_links(runs_file, book)
    for chapter in filter(lambda chapter: chapter.runs, book.chapters):
        runs.validate_parameters(chapter.source, chapter.parameters)
        if chapter.title and not has_title(runs.read_notebook(chapter.source)):
            raise ReportError(f"{chapter.source} has no first-level heading (`# ...`) for its title to replace")
    return book


def _load_runs(runs_file: Path) -> Any:
    try:
        return utils.read_yaml(runs_file)
    except (OSError, ValueError) as error:
        raise ReportError(f"{runs_file} cannot be read: {error}") from error


def _project_root(folder: Path) -> Path:
    for candidate in (folder, folder.parent, Path.cwd()):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    return utils.project_root()


def _make_chapters(entry: dict[str, Any], folder: Path, root: Path) -> list[Chapter]:
    if "page" in entry:
        _check_keys(entry, PAGE_KEYS, PAGE_KEYS)
        return [Chapter(Path(entry["page"]).stem, _require_file(folder / entry["page"]))]
    if "packages" in entry:
        _check_keys(entry, REFERENCE_KEYS, REFERENCE_KEYS)
        return [Chapter(f"api-{package_name(source)}", source) for source in package_sources()]
    _check_keys(entry, RUN_KEYS, RUN_KEYS - {"parameters"})
    notebook = _require_file(root / entry["notebook"])
    return [Chapter(str(entry["name"]), notebook, entry["title"], entry.get("parameters") or {})]


def _check_keys(entry: dict[str, Any], allowed: set[str], required: set[str]) -> None:
    chapter = f"the chapter {entry.get('name') or entry.get('page') or entry}"
    for key in set(map(str, entry)) - allowed:
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise ReportError(f"{chapter} has an unknown key `{key}`: {hint}it takes {', '.join(sorted(allowed))}")
    if missing := sorted(required - set(entry)):
        raise ReportError(f"{chapter} has no `{missing[0]}`")


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise ReportError(f"there is no file {path}")
    return path


def _check_names(runs_file: Path, book: Book) -> None:
    names = [chapter.name for chapter in book.chapters]
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            raise ReportError(f"{runs_file}: a page's name may contain letters, digits, . _ and - (got {name!r})")
        if names.count(name) > 1:
            raise ReportError(f"{runs_file}: two pages have the name {name}")


def _check_links(runs_file: Path, book: Book) -> None:
    """Refuse links to missing pages before anything runs; Sphinx would find them only after all runs."""
    texts = {
        chapter.source.name: re.sub(r"```[^{].*?```", "", chapter.source.read_text(encoding="utf-8"), flags=re.DOTALL)
        for chapter in book.chapters
        if not chapter.is_reference
    }
    names, everything = {chapter.name for chapter in book.chapters}, "".join(texts.values())
    for page, text in texts.items():
        targets = set(DOC_LINK.findall(text))
        for role, (target, directive) in REQUIRED_FILES.items():
            targets |= {target} if role in text and directive not in everything else set()
        if missing := sorted(targets - names):
            raise ReportError(
                f"{runs_file}: {page} links to pages that are not in the list: {', '.join(missing)}. "
                "Add them to the list or remove the links."
            )
