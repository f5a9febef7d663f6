"""Build the book: run the listed notebooks, turn them into pages, render the pages and check the result."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
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
from sernb.report.reference import package_name
from sernb.report.reference import reference_page

BUILD_STAMP = "sernb-report.txt"  # in the folder of a book: it marks the folder as ours and says what was built
STAMP_TITLE = "sernb report replaces runs/, src/, sphinx/ and html/ in this folder."
LAUNCH = re.compile(r"^% launch$", flags=re.MULTILINE)  # a comment of prose pages that is replaced by links
UNLINKED_TERMS = ("chance", "guess")  # terms of the glossary that also occur with their everyday meaning


def build_report(runs_file: Path, output_dir: Path, *, workers: int = 0) -> Path:
    """Run the notebooks that are not up to date, turn them into pages, build the book and check it.

    Args:
        runs_file: The list of chapters, such as `book/runs.yml`.
        output_dir: The folder for the runs (`runs/`), the book's source (`src/`) and the book (`html/`): one that is
            empty or missing, or that holds an earlier report.
        workers: The number of parallel runs; 0 leaves it to `runs.run_jobs`.

    Returns:
        The book's first page.

    Raises:
        ReportError: The list is wrong, the folder contains other files, runs failed or a page is broken; an earlier
            report's book stays as it was.
        FolderInUseError: Another report is writing into the folder.
    """
    book, output_dir = read_book(runs_file), Path(output_dir).absolute()
    _refuse_foreign_folder(output_dir)
    with utils.output_lock(output_dir):
        _write_stamp(output_dir)
        _run_chapters(book, output_dir, workers)
        source, html = assemble_sources(book, output_dir), output_dir / "html"
        digest = _source_digest(source)  # before it is rendered: code may change meanwhile
        if not _is_built(digest, output_dir):
            _publish(_render(source, output_dir), book, html)
            _write_stamp(output_dir, digest, utils.folder_digest(html))
    return html / "index.html"


def _refuse_foreign_folder(output_dir: Path) -> None:
    """Refuse a folder with files that no report wrote: a report replaces whole folders."""
    if output_dir.exists() and not output_dir.is_dir():
        raise ReportError(f"{output_dir} is a file: choose a folder for the report with -o")
    others = output_dir.is_dir() and [path for path in output_dir.iterdir() if not path.name.startswith(".")]
    if others and not _read_stamp(output_dir):
        raise ReportError(
            f"{output_dir} contains files that `sernb report` did not write, such as {others[0].name}, and a report "
            "replaces runs/, src/, sphinx/ and html/: choose a new or empty folder with -o"
        )


def _read_stamp(output_dir: Path) -> list[str]:
    """Return the lines of a report's stamp; empty where the folder has none."""
    stamp = output_dir / BUILD_STAMP
    lines = stamp.read_text(encoding="utf-8", errors="replace").splitlines() if stamp.is_file() else []
    return lines if lines[:1] == [STAMP_TITLE] else []


def _write_stamp(output_dir: Path, *digests: str) -> None:
    """Mark a folder as a report's; without digests, keep those of the last book."""
    lines = [STAMP_TITLE, *(digests or _read_stamp(output_dir)[1:])]
    (output_dir / BUILD_STAMP).write_text("\n".join(lines), encoding="utf-8")


def _publish(built: Path, book: Book, html: Path) -> None:
    """Check a rendered book and put it in the place of the last one."""
    if problems := list(check_book(built, book)):
        raise ReportError("\n".join(["the book has broken pages:", *problems, f"(see {built})"]))
    _strip_downloads(built)
    (built / ".nojekyll").touch()  # GitHub Pages would leave out folders whose names begin with an underscore
    shutil.rmtree(html, ignore_errors=True)
    shutil.move(built, html)


# runs into pages


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
    """Estimate a run's duration in seconds: long runs start first, so that no core is idle at the end."""
    trains = {"EPOCHS", "PROTOCOL"} & set(runs.notebook_parameters(job.notebook))
    unknown = float("inf") if trains else 0.0
    return runs.read_record(job.output_dir).get("seconds", unknown)


def assemble_sources(book: Book, output_dir: Path) -> Path:
    """Write what Jupyter Book reads (pages, contents, configuration, references) and return its folder."""
    source = output_dir / "src"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for chapter in book.chapters:
        _stage_page(chapter, book, output_dir, source)
    # The project's style and references, and those beside a user's own list.
    for folder in (book.root / "book", book.folder):
        for extra in [*folder.glob("*.bib"), *folder.glob("_static"), *book.root.glob("CHANGELOG.md")]:
            copy = partial(shutil.copytree, dirs_exist_ok=True) if extra.is_dir() else shutil.copy
            copy(extra, source / extra.name)
    (source / "references.bib").touch()  # the configuration names it, but a user's own list may come without one
    config = yaml.safe_load((book.root / CONFIG_FILE).read_text(encoding="utf-8")) | book.config
    (source / CONFIG_FILE).write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
    (source / "_toc.yml").write_text(yaml.safe_dump(table_of_contents(book), sort_keys=False), encoding="utf-8")
    return source


def table_of_contents(book: Book) -> dict[str, Any]:
    """Return the table of contents as Jupyter Book reads it."""
    parts = [
        {"caption": caption, "chapters": [{"file": chapter.name} for chapter in chapters]}
        for caption, chapters in book.parts
    ]
    # A book of one page has no parts, and Jupyter Book mistakes an empty list for an old format.
    return {"format": "jb-book", "root": book.first.name, **({"parts": parts} if parts else {})}


def _stage_page(chapter: Chapter, book: Book, output_dir: Path, source: Path) -> None:
    import nbformat

    if not chapter.runs:
        text = _prose(chapter, book)
        (source / f"{chapter.name}.md").write_text(text, encoding="utf-8")
        return
    notebook = runs.read_notebook(output_dir / "runs" / chapter.name / chapter.source.name)
    _refuse_private(chapter, book, notebook)
    first = {source.name: name for source, name in _first_pages(book).items()}
    fold_code = book.fold_code or chapter.fold_code
    make_page(notebook, title=chapter.title, terms=_glossary_terms(book), pages=first, fold_code=fold_code)
    if chapter.title:
        notebook.cells.append(nbformat.v4.new_markdown_cell(_command(chapter, book.root) + _helpers(chapter)))
    notebook = nbformat.v4.upgrade(notebook)
    for number, cell in enumerate(notebook.cells):  # a new cell would get another id each time
        cell.id = f"cell-{number}"
    nbformat.write(notebook, source / f"{chapter.name}.ipynb")


def _prose(chapter: Chapter, book: Book) -> str:
    if chapter.is_reference:
        return reference_page(chapter.source, _chapters_using(package_name(chapter.source), book))
    return LAUNCH.sub(_launch(book), chapter.source.read_text(encoding="utf-8"))


def _refuse_private(chapter: Chapter, book: Book, notebook: Any) -> None:
    """Refuse a page that shows names of private clips: a user's chapter may have forgotten to withhold them."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    text = json.dumps(outputs, ensure_ascii=False)
    visible = [name for name in _private_names(chapter, book) if name in text or escape(name) in text]
    if visible:
        raise ReportError(
            f"the page {chapter.name} would show {len(visible)} file names, folders or digests of a private corpus. "
            "Show its tables with `display.redact(table, clips)` and its players with `display.audio_table(..., "
            "clips=clips)`; or, if all of its speakers have agreed, call `corpora.mark_publishable`."
        )


def _private_names(chapter: Chapter, book: Book) -> set[str]:
    parameters, names = runs.notebook_parameters(chapter.source) | chapter.parameters, set()
    for name in [name for name in parameters if name.endswith("CORPUS") and parameters[name] == "local"]:
        folder = parameters.get(name.removesuffix("CORPUS") + "DATA_DIR", "")
        table = corpora.load("local", book.root / Path(folder).expanduser() if folder else "")
        if corpora.is_private(table):
            names |= {str(Path(path).parent) for path in table["path"]} | set(table["sha256"]) - {""}
            names |= {Path(clip).name for clip in table["clip"]}
    return names


def _glossary_terms(book: Book) -> list[str]:
    """Return the terms of the book's glossary, if it has one, without those that are everyday words as well."""
    glossary = [chapter.source for chapter in book.chapters if chapter.source.name == "glossary.md"]
    text = "".join(page.read_text(encoding="utf-8") for page in glossary)
    return [term for term in re.findall(r"^(\S.*)\n  \S", text, flags=re.MULTILINE) if term not in UNLINKED_TERMS]


def _command(chapter: Chapter, root: Path) -> str:
    words = ["sernb", "run", chapter.source.relative_to(root).as_posix()]
    for name, value in chapter.parameters.items():
        # A corpus's folder belongs to this machine, and its name may identify people.
        value = "FOLDER" if results.is_dir_parameter(name) else value
        words += ["-p", name, value if isinstance(value, str) else json.dumps(value)]
    return f":::{{admonition}} This page as a command\n:class: note\n```text\n{shlex.join(words)}\n```\n:::"


def _imported(notebook: Path) -> list[str]:
    """Return the packages of `sernb` that a notebook imports; empty for prose."""
    return _read_imports(notebook, notebook.stat().st_mtime_ns) if notebook.suffix == ".ipynb" else []


@cache
def _read_imports(notebook: Path, modified: int) -> list[str]:
    """Read what `_imported` returns; `modified` is for the cache: every page of the API reference asks for it."""
    cells = [cell.source for cell in runs.read_notebook(notebook).cells if cell.cell_type == "code"]
    lines = re.findall(r"^from sernb import (.+)", "\n".join(cells), flags=re.MULTILINE)
    return sorted({name for line in lines for name in re.findall(r"(\w+)(?: as \w+)?", line)})


def _helpers(chapter: Chapter) -> str:
    """Name the packages that a chapter uses; a book without an API reference shows them without links."""
    names = ", ".join(f"{{py:mod}}`sernb.{name}`" for name in _imported(chapter.source))
    return f"\n\nPackages used in this chapter: {names}." if names else ""


def _chapters_using(package: str, book: Book) -> str:
    """Link to the chapters that use a package."""
    links = [f"{{doc}}`{name}`" for source, name in _first_pages(book).items() if package in _imported(source)]
    return f"Used in: {', '.join(links)}." if links else ""


def _first_pages(book: Book) -> dict[Path, str]:
    """Return the page of each source: of several runs of one notebook, the first."""
    pages: dict[Path, str] = {}
    for chapter in book.chapters:
        pages.setdefault(chapter.source, chapter.name)
    return pages


def _launch(book: Book) -> str:
    """Link to services that open the book's notebooks; only a build on GitHub knows its repository."""
    if not (repository := os.environ.get("GITHUB_REPOSITORY")):
        return "(This copy of the book was not built on GitHub, so it has no repository to link to.)"
    sources = {chapter.source.relative_to(book.root).as_posix() for chapter in book.chapters if chapter.title}
    binder, colab = "https://mybinder.org/v2/gh", "https://colab.research.google.com/github"
    return "\n".join(
        f"- `{source}`: [Binder]({binder}/{repository}/HEAD?labpath={source}), "
        f"[Colab]({colab}/{repository}/blob/main/{source})"
        for source in sorted(sources)
    )


# pages into a book


def _is_built(digest: str, output_dir: Path) -> bool:
    """Return whether the folder contains the book of this source, unchanged since it was built."""
    digests = _read_stamp(output_dir)[1:]
    return digests[:1] == [digest] and digests[1:] == [utils.folder_digest(output_dir / "html")]


def _source_digest(source: Path) -> str:
    """Return a digest of the pages, of `sernb` (the reference is made from its docstrings) and of the packages."""
    installed = sorted(f"{package.name} {package.version}" for package in metadata.distributions())
    digests = [utils.folder_digest(folder) for folder in (source, Path(__file__).parents[1])]
    return hashlib.sha256("\n".join([sys.version, *digests, *installed]).encode()).hexdigest()


def _render(source: Path, output_dir: Path) -> Path:
    """Build the HTML; a warning of Sphinx is an error, since it means a broken page."""
    # As in `runs.import_nbformat`.
    start = "import sys; sys.modules['rfc3987_syntax'] = None; from jupyter_book.cli.main import main; main()"
    jupyter_book = [sys.executable, "-c", start]
    command = [*jupyter_book, "build", str(source)]
    options = ["--path-output", str(output_dir / "sphinx"), "--all", "-W", "--keep-going", "-q"]
    shutil.rmtree(output_dir / "sphinx", ignore_errors=True)
    done = subprocess.run([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise ReportError(f"the book could not be built:\n{done.stdout.strip()[-3000:]}")
    return output_dir / "sphinx" / "_build" / "html"


def _strip_downloads(html: Path) -> None:
    """Halve the size of a book: remove outputs from the notebooks for download, and the source maps of scripts."""
    import nbformat

    for file in html.rglob("*.map"):
        file.unlink()
    for file in (html / "_sources").rglob("*.ipynb"):
        notebook = runs.read_notebook(file)
        for cell in notebook.cells:
            cell.update({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {})
        nbformat.write(notebook, file)
