"""The list of runs that a book shows, read and checked before anything runs."""

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

CONFIG_FILE = "_config.yml"
PAGE_KEYS = {"page"}
RUN_KEYS = {"name", "notebook", "title", "parameters"}
DOC_LINK = re.compile(r"\{doc\}`(?:[^`<]*<)?([\w.-]+)>?`")
# What a role leads to, and the directive of the page that it needs.
REQUIRED_FILES = {"{term}`": ("glossary", "{glossary}"), "{cite": ("references", "{bibliography}")}


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


def read_book(runs_file: Path) -> Book:
    """Read a list of runs and check it whole: keys, files, names and parameters.

    Pages are looked up beside the list, notebooks in the project's folder: the nearest of the list's folder, the one
    above it and the working directory that holds `_config.yml`.

    Raises:
        ReportError: The list is wrong; the message says where.
        ParameterError: A run's parameters are.
    """
    runs_file = Path(runs_file).absolute()
    listed = _load_runs(runs_file)
    root = _project_root(runs_file.parent)
    try:
        if strange := set(listed) - {"first", "parts"}:
            raise ReportError(f"it takes `first` and `parts`, not {', '.join(sorted(strange))}")
        parts = [
            (part["caption"], [_make_chapter(entry, runs_file.parent, root) for entry in part["chapters"]])
            for part in listed["parts"]
        ]
        first = (
            _make_chapter({"page": listed["first"]}, runs_file.parent, root)
            if "first" in listed
            else parts[0][1].pop(0)
        )
        book = Book(root, runs_file.parent, first, [part for part in parts if part[1]])
    except (KeyError, TypeError, IndexError) as error:
        raise ReportError(f"{runs_file}: it takes `parts` of `caption` and `chapters`: {error!r}") from error
    except ReportError as error:
        raise ReportError(f"{runs_file}: {error}") from error
    _check_names(runs_file, book)
    _check_links(runs_file, book)
    for chapter in filter(lambda chapter: chapter.runs, book.chapters):
        runs.validate_parameters(chapter.source, chapter.parameters)
        if chapter.title and not has_title(runs.read_notebook(chapter.source)):
            raise ReportError(
                f"{chapter.source} has no first-level heading (`# ...`), for its title to take the place of"
            )
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
    raise ReportError(f"there is no {CONFIG_FILE} in {folder}, in the folder above it or in {Path.cwd()}")


def _make_chapter(entry: dict[str, Any], folder: Path, root: Path) -> Chapter:
    if "page" in entry:
        _check_keys(entry, PAGE_KEYS, PAGE_KEYS)
        return Chapter(Path(entry["page"]).stem, _require_file(folder / entry["page"]))
    _check_keys(entry, RUN_KEYS, RUN_KEYS - {"parameters"})
    return Chapter(
        str(entry["name"]), _require_file(root / entry["notebook"]), entry["title"], entry.get("parameters") or {}
    )


def _check_keys(entry: dict[str, Any], known: set[str], needed: set[str]) -> None:
    named = f"the chapter {entry.get('name') or entry.get('page') or entry}"
    for key in set(map(str, entry)) - known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise ReportError(f"{named} has an unknown key `{key}`: {hint}it takes {', '.join(sorted(known))}")
    if lacking := sorted(needed - set(entry)):
        raise ReportError(f"{named} lacks `{lacking[0]}`")


def _require_file(path: Path) -> Path:
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


def _check_links(runs_file: Path, book: Book) -> None:
    """What Sphinx would find out too, but after all runs, and in its own words."""
    texts = {
        chapter.source.name: re.sub(r"```[^{].*?```", "", chapter.source.read_text(encoding="utf-8"), flags=re.DOTALL)
        for chapter in book.chapters
    }
    names, everything = {chapter.name for chapter in book.chapters}, "".join(texts.values())
    for page, text in texts.items():
        wanted = set(DOC_LINK.findall(text))
        wanted |= {
            needed for role, (needed, there) in REQUIRED_FILES.items() if role in text and there not in everything
        }
        if missing := sorted(wanted - names):
            raise ReportError(
                f"{runs_file}: {page} leads to pages that are not in the list: {', '.join(missing)}. "
                "Add them to it, or take the links out."
            )
