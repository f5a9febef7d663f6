"""Floor 5: the runs that `book/runs.yml` lists become pages, and the pages a book.

Nothing here is kept by hand: the contents follow from the list of runs, each run's page is its executed notebook, and
the built pages are read again before a book is said to be there.
"""

from __future__ import annotations

import difflib
import hashlib
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
from functools import partial
from html import escape
from html.parser import HTMLParser
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from sernb import corpora
from sernb import pages
from sernb import privacy
from sernb import runs
from sernb import sweeps

CONFIG = "_config.yml"
BUILT = "html.txt"  # beside the book: what it was built of
PAGE_KEYS = {"page"}
RUN_KEYS = {"name", "notebook", "title", "parameters"}
FETCHED = {"script", "img", "audio", "video", "source", "iframe", "embed", "object", "track", "link"}
FETCHED_LINKS = {"stylesheet", "preload", "modulepreload", "preconnect", "dns-prefetch", "icon", "manifest"}
# Comments of prose pages that are replaced by links.
USED_IN = re.compile(r"^% chapters that use sernb\.(\w+)$", flags=re.MULTILINE)
LAUNCH = re.compile(r"^% launch$", flags=re.MULTILINE)
LEADS = re.compile(r"\{doc\}`(?:[^`<]*<)?([\w.-]+)>?`")
# What a role leads to, and the directive of the page that it needs.
NEEDED = {"{term}`": ("glossary", "{glossary}"), "{cite": ("references", "{bibliography}")}
EVERYDAY = ("chance", "guess")  # words of the glossary that are not always meant so
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
    _check_links(runs_file, book)
    for chapter in filter(lambda chapter: chapter.runs, book.chapters):
        runs.validate(chapter.source, chapter.parameters)
        if chapter.title and not pages.headed(runs.read_notebook(chapter.source)):
            raise ReportError(
                f"{chapter.source} has no first-level heading (`# ...`), for its title to take the place of"
            )
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
    named = f"the chapter {entry.get('name') or entry.get('page') or entry}"
    for key in set(map(str, entry)) - known:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean `{near[0]}`? " if near else ""
        raise ReportError(f"{named} has an unknown key `{key}`: {hint}it takes {', '.join(sorted(known))}")
    if lacking := sorted(needed - set(entry)):
        raise ReportError(f"{named} lacks `{lacking[0]}`")


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


def _check_links(runs_file: Path, book: Book) -> None:
    """What Sphinx would find out too, but after all runs, and in its own words."""
    texts = {
        chapter.source.name: re.sub(r"```[^{].*?```", "", chapter.source.read_text(encoding="utf-8"), flags=re.DOTALL)
        for chapter in book.chapters
    }
    names, everything = {chapter.name for chapter in book.chapters}, "".join(texts.values())
    for page, text in texts.items():
        wanted = set(LEADS.findall(text))
        wanted |= {needed for role, (needed, there) in NEEDED.items() if role in text and there not in everything}
        if missing := sorted(wanted - names):
            raise ReportError(
                f"{runs_file}: {page} leads to pages that are not in the list: {', '.join(missing)}. "
                "Add them to it, or take the links out."
            )


# runs into pages


def build(runs_file: Path, output_dir: Path, *, workers: int = 0) -> Path:
    """Make the runs that are not fresh, turn them into pages, build the book and check it; one that is there, stays.

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
    source, html, told = stage(book, output_dir), output_dir / "html", output_dir / BUILT
    made_of = _made_of(source)  # before it is rendered: code may change meanwhile
    if not _is_built(made_of, html, told):
        told.unlink(missing_ok=True)
        built = _render(source, output_dir)
        if problems := list(check(built, book)):
            raise ReportError("\n".join(["the book has broken pages:", *problems, f"(to look at: {built})"]))
        _lighten(built)
        shutil.rmtree(html, ignore_errors=True)
        shutil.move(built, html)
        told.write_text(f"{made_of}\n{runs.folder_digest(html)}", encoding="utf-8")
    return html / "index.html"


def _make_runs(book: Book, output_dir: Path, workers: int) -> None:
    jobs = [
        runs.Job(chapter.source, output_dir / "runs" / chapter.name, chapter.parameters, book.root)
        for chapter in book.chapters
        if chapter.runs
    ]
    jobs.sort(key=_length, reverse=True)
    failed = [outcome for outcome in sweeps.run_all(jobs, workers=workers) if outcome.status == "failed"]
    if failed:
        lines = [f"{outcome.job.output_dir.name}: {outcome.error}" for outcome in failed]
        raise ReportError("\n".join([f"{len(failed)} of {len(jobs)} runs failed, so no book was built:", *lines]))


def _length(job: runs.Job) -> float:
    """How long a run will take: begun first, long ones have short ones beside them at the end, and no core is idle."""
    trains = {"EPOCHS", "PROTOCOL"} & set(runs.defaults(job.notebook))
    unknown = float("inf") if trains else 0.0
    return runs.read_record(job.output_dir).get("seconds", unknown)


def stage(book: Book, output_dir: Path) -> Path:
    """Put together what Jupyter Book reads: pages, contents, configuration, references; returns the folder."""
    source = output_dir / "src"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for chapter in book.chapters:
        _stage_page(chapter, book, output_dir, source)
    # The project's style and references, and what a list of one's own has beside it.
    for folder in (book.root / "book", book.folder):
        for extra in [*folder.glob("*.bib"), *folder.glob("_static"), *book.root.glob("CHANGELOG.md")]:
            copy = partial(shutil.copytree, dirs_exist_ok=True) if extra.is_dir() else shutil.copy
            copy(extra, source / extra.name)
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
    _refuse_private(chapter, book, notebook)
    pages.make(notebook, title=chapter.title, terms=_terms(book))
    if chapter.title:
        notebook.cells.append(nbformat.v4.new_markdown_cell(_command(chapter, book.root) + _helpers(chapter)))
    notebook = nbformat.v4.upgrade(notebook)
    for number, cell in enumerate(notebook.cells):  # those that are new here would get another id each time
        cell.id = f"cell-{number}"
    nbformat.write(notebook, target)


def _refuse_private(chapter: Chapter, book: Book, notebook: Any) -> None:
    """A chapter that somebody wrote may forget to ask `privacy`: no name of a private clip goes into a book."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    text = json.dumps(outputs, ensure_ascii=False)
    found = [name for name in _private_names(chapter, book) if name in text or escape(name) in text]
    if found:
        raise ReportError(
            f"the page {chapter.name} would show {len(found)} file names, folders or digests of a private corpus. Show "
            "its tables by `privacy.shown(table, clips)` and its players by `players.table(..., of=clips)`; or, if all "
            "of its speakers agree, `local.publish` it."
        )


def _private_names(chapter: Chapter, book: Book) -> set[str]:
    given, names = runs.defaults(chapter.source) | chapter.parameters, set()
    for name in [name for name in given if name.endswith("CORPUS") and given[name] == "local"]:
        folder = given.get(name.removesuffix("CORPUS") + "DATA_DIR", "")
        table = corpora.load("local", book.root / Path(folder).expanduser() if folder else "")
        if privacy.private(table):
            names |= {str(Path(path).parent) for path in table["path"]} | set(table["sha256"]) - {""}
            names |= {Path(clip).name for clip in table["clip"]}
    return names


def _terms(book: Book) -> list[str]:
    """The words of the book's glossary, if it has one, but for those that are everyday words as well."""
    glossary = [chapter.source for chapter in book.chapters if chapter.source.name == "glossary.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in glossary)
    return [term for term in re.findall(r"^(\S.*)\n  \S", text, flags=re.MULTILINE) if term not in EVERYDAY]


def _command(chapter: Chapter, root: Path) -> str:
    words = ["sernb", "run", chapter.source.relative_to(root).as_posix()]
    for name, value in chapter.parameters.items():
        # Where a corpus lies is a machine's affair, and may say whose it is.
        value = "FOLDER" if runs.is_folder(name) else value
        words += ["-p", name, value if isinstance(value, str) else json.dumps(value)]
    return f":::{{admonition}} This page as a command\n:class: note\n```text\n{shlex.join(words)}\n```\n:::"


def _imported(notebook: Path) -> list[str]:
    """The modules of `sernb` that a notebook imports; empty for prose."""
    if notebook.suffix != ".ipynb":
        return []
    cells = [cell.source for cell in runs.read_notebook(notebook).cells if cell.cell_type == "code"]
    lines = re.findall(r"^from sernb import (.+)", "\n".join(cells), flags=re.MULTILINE)
    return sorted({name for line in lines for name in re.findall(r"(\w+)(?: as \w+)?", line)})


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


def _is_built(made_of: str, html: Path, told: Path) -> bool:
    """Whether this very book is there: of the same pages, by the same code, and not a byte of it changed."""
    if not (told.is_file() and html.is_dir()):
        return False
    return told.read_text(encoding="utf-8") == f"{made_of}\n{runs.folder_digest(html)}"


def _made_of(source: Path) -> str:
    """A digest of the pages, of all of `sernb` (the reference is made of its docstrings) and of what is installed."""
    installed = sorted(f"{package.name} {package.version}" for package in metadata.distributions())
    digests = [runs.folder_digest(folder) for folder in (source, Path(__file__).parent)]
    return hashlib.sha256("\n".join([sys.version, *digests, *installed]).encode()).hexdigest()


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
