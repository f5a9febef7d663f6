"""The runs that `book/runs.yml` lists become pages, and the pages a book.

Nothing here is kept by hand: the contents follow from the list of runs, each run's page is its executed notebook, and
the built pages are read again before a book is said to be there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from html import escape
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from sernb import corpora
from sernb import results
from sernb import runs
from sernb import utils
from sernb.report.check import check_book
from sernb.report.contents import CONFIG_FILE
from sernb.report.contents import Book
from sernb.report.contents import Chapter
from sernb.report.contents import ReportError
from sernb.report.contents import read_book
from sernb.report.pages import make_page

BUILD_STAMP = "html.txt"  # beside the book: what it was built of
# Comments of prose pages that are replaced by links.
USED_IN = re.compile(r"^% chapters that use sernb\.(\w+)$", flags=re.MULTILINE)
LAUNCH = re.compile(r"^% launch$", flags=re.MULTILINE)
UNLINKED_TERMS = ("chance", "guess")  # words of the glossary that are not always meant so


# runs into pages


def build_report(runs_file: Path, output_dir: Path, *, workers: int = 0) -> Path:
    """Make the runs that are not fresh, turn them into pages, build the book and check it; one that is there, stays.

    Args:
        runs_file: The list of runs, such as `book/runs.yml`.
        output_dir: Where the runs (`runs/`), the book's source (`src/`) and the book (`html/`) go.
        workers: How many runs at a time; 0 leaves it to `runs.run_jobs`.

    Returns:
        The book's first page.

    Raises:
        ReportError: The list is wrong, runs failed or a page is broken; the book of an earlier report stays as it was.
    """
    book, output_dir = read_book(runs_file), Path(output_dir).absolute()
    _run_chapters(book, output_dir, workers)
    source, html, told = assemble_sources(book, output_dir), output_dir / "html", output_dir / BUILD_STAMP
    made_of = _source_digest(source)  # before it is rendered: code may change meanwhile
    if not _is_built(made_of, html, told):
        told.unlink(missing_ok=True)
        built = _render(source, output_dir)
        if problems := list(check_book(built, book)):
            raise ReportError("\n".join(["the book has broken pages:", *problems, f"(to look at: {built})"]))
        _strip_downloads(built)
        shutil.rmtree(html, ignore_errors=True)
        shutil.move(built, html)
        told.write_text(f"{made_of}\n{utils.folder_digest(html)}", encoding="utf-8")
    return html / "index.html"


def _run_chapters(book: Book, output_dir: Path, workers: int) -> None:
    jobs = [
        runs.Job(chapter.source, output_dir / "runs" / chapter.name, chapter.parameters, book.root)
        for chapter in book.chapters
        if chapter.runs
    ]
    jobs.sort(key=_expected_length, reverse=True)
    failed = [outcome for outcome in runs.run_jobs(jobs, workers=workers) if outcome.status == "failed"]
    if failed:
        lines = [f"{outcome.job.output_dir.name}: {outcome.error}" for outcome in failed]
        raise ReportError("\n".join([f"{len(failed)} of {len(jobs)} runs failed, so no book was built:", *lines]))


def _expected_length(job: runs.Job) -> float:
    """How long a run will take: begun first, long ones have short ones beside them at the end, and no core is idle."""
    trains = {"EPOCHS", "PROTOCOL"} & set(runs.notebook_parameters(job.notebook))
    unknown = float("inf") if trains else 0.0
    return runs.read_record(job.output_dir).get("seconds", unknown)


def assemble_sources(book: Book, output_dir: Path) -> Path:
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
    shutil.copy(book.root / CONFIG_FILE, source)
    (source / "_toc.yml").write_text(yaml.safe_dump(table_of_contents(book), sort_keys=False), encoding="utf-8")
    return source


def table_of_contents(book: Book) -> dict[str, Any]:
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
        text = USED_IN.sub(lambda match: _chapters_using(match[1], book), text)
        target.write_text(LAUNCH.sub(_launch(book), text), encoding="utf-8")
        return
    notebook = runs.read_notebook(output_dir / "runs" / chapter.name / chapter.source.name)
    _refuse_private(chapter, book, notebook)
    make_page(notebook, title=chapter.title, terms=_glossary_terms(book))
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
            "its tables by `display.redact(table, clips)` and its players by `display.audio_table(..., of=clips)`; or, if all "
            "of its speakers agree, `corpora.mark_publishable` it."
        )


def _private_names(chapter: Chapter, book: Book) -> set[str]:
    given, names = runs.notebook_parameters(chapter.source) | chapter.parameters, set()
    for name in [name for name in given if name.endswith("CORPUS") and given[name] == "local"]:
        folder = given.get(name.removesuffix("CORPUS") + "DATA_DIR", "")
        table = corpora.load("local", book.root / Path(folder).expanduser() if folder else "")
        if corpora.is_private(table):
            names |= {str(Path(path).parent) for path in table["path"]} | set(table["sha256"]) - {""}
            names |= {Path(clip).name for clip in table["clip"]}
    return names


def _glossary_terms(book: Book) -> list[str]:
    """The words of the book's glossary, if it has one, but for those that are everyday words as well."""
    glossary = [chapter.source for chapter in book.chapters if chapter.source.name == "glossary.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in glossary)
    return [term for term in re.findall(r"^(\S.*)\n  \S", text, flags=re.MULTILINE) if term not in UNLINKED_TERMS]


def _command(chapter: Chapter, root: Path) -> str:
    words = ["sernb", "run", chapter.source.relative_to(root).as_posix()]
    for name, value in chapter.parameters.items():
        # Where a corpus lies is a machine's affair, and may say whose it is.
        value = "FOLDER" if results.is_dir_parameter(name) else value
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


def _chapters_using(module: str, book: Book) -> str:
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
    return told.read_text(encoding="utf-8") == f"{made_of}\n{utils.folder_digest(html)}"


def _source_digest(source: Path) -> str:
    """A digest of the pages, of all of `sernb` (the reference is made of its docstrings) and of what is installed."""
    installed = sorted(f"{package.name} {package.version}" for package in metadata.distributions())
    digests = [utils.folder_digest(folder) for folder in (source, Path(__file__).parents[1])]
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


def _strip_downloads(html: Path) -> None:
    """Halve a book: its pages offer notebooks without outputs for download, and debuggers get no maps of scripts."""
    import nbformat

    for file in html.rglob("*.map"):
        file.unlink()
    for file in (html / "_sources").rglob("*.ipynb"):
        notebook = runs.read_notebook(file)
        for cell in notebook.cells:
            cell.update({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {})
        nbformat.write(notebook, file)
