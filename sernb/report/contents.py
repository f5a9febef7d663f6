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
LIST_KEYS = {"title", "author", "fold_code", "first", "parts"}
PAGE_KEYS = {"page"}
REFERENCE_KEYS = {"packages"}
OPTIONAL_KEYS = {"parameters", "fold_code"}
RUN_KEYS = {"name", "notebook", "title"} | OPTIONAL_KEYS
DOC_LINK = re.compile(r"\{doc\}`(?:[^`<]*<)?([\w.-]+)>?`")
# For each role: the page that it links to, and the directive that this page contains.
REQUIRED_FILES = {"{term}`": ("glossary", "{glossary}"), "{cite": ("references", "{bibliography}")}


class ReportError(RuntimeError):
    """A list of chapters that cannot be read, runs that failed, a folder with other files, or broken pages."""


@dataclass(frozen=True)
class Chapter:
    """A page of the book: prose, a notebook with the parameters of its run, or the reference of a package.

    With `fold_code`, the page shows code on a click.
    """

    name: str
    source: Path
    title: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    fold_code: bool = False

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
    """The contents of a book: the first page, then named parts, each with its chapters.

    `config` holds the values of `_config.yml` that the list replaces; with `fold_code`, pages show code on a click.
    """

    root: Path
    folder: Path
    first: Chapter
    parts: list[tuple[str, list[Chapter]]]
    config: dict[str, str] = field(default_factory=dict)
    fold_code: bool = False

    @property
    def chapters(self) -> list[Chapter]:
        """All pages in reading order."""
        return [self.first, *(chapter for _, chapters in self.parts for chapter in chapters)]


def read_book(runs_file: Path) -> Book:
    """Read a list of chapters and check all of it: keys, files, names and parameters.

    Pages are looked up beside the list, notebooks in the project's folder: the list's folder, its parent or the working
    directory, whichever first contains `_config.yml`, or else the files that come with sernb.

    Raises:
        ReportError: The list is wrong; the message says where.
        ParameterError: A parameter of a run is wrong.
    """
    runs_file = Path(runs_file).absolute()
    content = _load_runs(runs_file)
    root = _project_root(runs_file.parent)
    try:
        config = _read_settings(content)
        parts = [
            (part["caption"], [c for entry in part["chapters"] for c in _make_chapters(entry, runs_file.parent, root)])
            for part in content["parts"]
        ]
        if "first" in content:
            (first,) = _make_chapters({"page": content["first"]}, runs_file.parent, root)
        else:
            first = parts[0][1].pop(0)
        parts = [part for part in parts if part[1]]
        book = Book(root, runs_file.parent, first, parts, config, _read_fold_code(content))
        _require_files(book)
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


def _read_settings(content: dict[str, Any]) -> dict[str, str]:
    """Return the title and the author that a list gives its book, and refuse unknown keys and wrong values."""
    if unknown := sorted(set(content) - LIST_KEYS):
        near = difflib.get_close_matches(str(unknown[0]), LIST_KEYS, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise ReportError(f"unknown key `{unknown[0]}`: {hint}the list takes {', '.join(sorted(LIST_KEYS))}")
    _read_fold_code(content)
    config = {name: content[name] for name in ("title", "author") if name in content}
    for name, value in config.items():
        if not isinstance(value, str) or not value.strip():
            raise ReportError(f"`{name}` must be text (got {value!r}); put it in quotes")
    return config


def _read_fold_code(content: dict[str, Any]) -> bool:
    fold_code = content.get("fold_code", False)
    if type(fold_code) is not bool:
        raise ReportError(f"`fold_code` is true or false (got {fold_code!r})")
    return fold_code


def _project_root(folder: Path) -> Path:
    for candidate in (folder, folder.parent, Path.cwd()):
        if (candidate / CONFIG_FILE).is_file():
            return candidate
    return utils.project_root()


def _make_chapters(entry: dict[str, Any], folder: Path, root: Path) -> list[Chapter]:
    if "page" in entry:
        _check_keys(entry, PAGE_KEYS, PAGE_KEYS)
        return [Chapter(Path(entry["page"]).stem, folder / entry["page"])]
    if "packages" in entry:
        _check_keys(entry, REFERENCE_KEYS, REFERENCE_KEYS)
        return [Chapter(f"api-{package_name(source)}", source) for source in package_sources()]
    _check_keys(entry, RUN_KEYS, RUN_KEYS - OPTIONAL_KEYS)
    source, parameters = root / entry["notebook"], entry.get("parameters") or {}
    return [Chapter(str(entry["name"]), source, entry["title"], parameters, _read_fold_code(entry))]


def _check_keys(entry: dict[str, Any], allowed: set[str], required: set[str]) -> None:
    chapter = f"the chapter {entry.get('name') or entry.get('page') or entry}"
    for key in set(map(str, entry)) - allowed:
        near = difflib.get_close_matches(key, allowed, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise ReportError(f"{chapter} has an unknown key `{key}`: {hint}it takes {', '.join(sorted(allowed))}")
    if missing := sorted(required - set(entry)):
        raise ReportError(f"{chapter} has no `{missing[0]}`")


def _require_files(book: Book) -> None:
    if missing := dict.fromkeys(str(chapter.source) for chapter in book.chapters if not chapter.source.is_file()):
        raise ReportError(f"there is no file {', '.join(missing)}")


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
    missing: dict[str, list[str]] = {}
    for page, text in texts.items():
        targets = set(DOC_LINK.findall(text))
        for role, (target, directive) in REQUIRED_FILES.items():
            targets |= {target} if role in text and directive not in everything else set()
        if targets - names:
            missing[page] = sorted(targets - names)
    if missing:
        links = "; ".join(
            f"{page} links to pages that are not in the list: {', '.join(missing[page])}" for page in missing
        )
        raise ReportError(f"{runs_file}: {links}. Add them to the list or remove the links.")
