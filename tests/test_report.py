"""A small book, built and checked; the real one is in test_book."""

from __future__ import annotations

import base64
import io
import re
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import soundfile
import yaml
from bs4 import BeautifulSoup
from support import small_notebooks
from support.audio_files import tone
from support.audio_files import write

import sernb
from sernb import report
from sernb import runs
from sernb import utils
from sernb.report import build

ROOT = Path(__file__).parents[1]
RUNS = """\
title: "Emotions: a book"
author: A. N. Author
first: index.ipynb
parts:
  - caption: Hear
    chapters:
      - page: about.md
      - {name: small-run, notebook: notebooks/small.ipynb, title: "Sounds & plots", parameters: {SEED: 7, MODELS: [b]}}
"""
ABOUT = """\
# About

See {cite}`cao2014`.

```{bibliography}
```
"""


FIGURES = """\
import matplotlib.pyplot as plt
from sernb import display as show

print("before")
for i in (1, 2):
    plt.plot([0, i])
    show.caption(f"**Look** how it rises to {i}.", alt=f"A line up to {i}.")
if i > 2:
    plt.plot([0, i])
    show.caption("This is not drawn.")
print("after")"""


def project(folder: Path, listed: str = RUNS) -> Path:
    """A project of two notebooks and a page; returns its list of runs."""
    code = ["from sernb import display as show", small_notebooks.WRITE, small_notebooks.PLAYER, FIGURES]
    small_notebooks.write(folder / "notebooks" / "small.ipynb", *code)
    small_notebooks.write(
        folder / "book" / "index.ipynb", "print('first')", title="First", parameters="RESULTS_DIR = ''"
    )
    (folder / "book" / "about.md").write_text(ABOUT)
    shutil.copy(ROOT / "book" / "references.bib", folder / "book")
    shutil.copytree(ROOT / "book" / "_static", folder / "book" / "_static")
    shutil.copy(ROOT / "_config.yml", folder)
    (folder / "book" / "runs.yml").write_text(listed)
    return folder / "book" / "runs.yml"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small book's output."""
    folder = tmp_path_factory.mktemp("book")
    assert report.build_report(project(folder), folder / "_build") == folder / "_build" / "html" / "index.html"
    return folder / "_build"


def soup(built: Path, page: str) -> BeautifulSoup:
    return BeautifulSoup((built / "html" / page).read_text(encoding="utf-8"), "html.parser")


@pytest.mark.report
def test_every_listed_page_is_built_and_in_the_contents(built: Path):
    toc = yaml.safe_load((built / "src" / "_toc.yml").read_text())
    assert toc["parts"] == [{"caption": "Hear", "chapters": [{"file": "about"}, {"file": "small-run"}]}]
    links = [link.get_text(strip=True) for link in soup(built, "index.html").select("nav.bd-links a.reference")]
    assert links == ["First", "About", "Sounds & plots"]
    page = soup(built, "about.html")
    assert page.title.get_text() == "About — Emotions: a book" and "By A. N. Author" in page.get_text()
    assert (built / "html" / ".nojekyll").is_file(), "GitHub Pages would leave out _static"
    for page, heading in [("index.html", "First"), ("about.html", "About"), ("small-run.html", "Sounds & plots")]:
        assert soup(built, page).h1.get_text().startswith(heading)


@pytest.mark.report
def test_the_players_play(built: Path):
    players = soup(built, "small-run.html").select("audio source, audio[src]")
    assert len(players) == 1
    data = base64.b64decode(players[0]["src"].split(",", 1)[1])
    signal, rate = soundfile.read(io.BytesIO(data))
    assert rate == 8000 and len(signal) == 4000 and signal.any()


@pytest.mark.report
def test_a_page_shows_its_parameters_and_its_command(built: Path):
    text = soup(built, "small-run.html").get_text()
    assert "SEED = 7  # a comment" in text and "MODELS = ['b']" in text and "SEED = 1" not in text
    assert "sernb run notebooks/small.ipynb -p SEED 7 -p MODELS '[\"b\"]'" in text
    assert str(built) not in (built / "html" / "small-run.html").read_text(), "no path of this machine"


@pytest.mark.report
def test_the_notebook_for_download_has_no_outputs(built: Path):
    download = nbformat.read(built / "html" / "_sources" / "small-run.ipynb", as_version=4)
    code = [cell for cell in download.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
    assert soup(built, "small-run.html").select("a[href='_sources/small-run.ipynb']"), "the button links to it"
    assert soup(built, "small-run.html").select("audio"), "the page itself keeps its players"
    assert not list((built / "html").rglob("*.map"))


@pytest.mark.report
def test_figures_have_numbers_captions_and_alt_texts(built: Path):
    page = soup(built, "small-run.html")
    figures = page.select("figure")
    assert [figure.img["alt"] for figure in figures] == ["A line up to 1.", "A line up to 2."]
    captions = [figure.figcaption.get_text().strip() for figure in figures]
    assert all(text.startswith(f"Figure {i} Look how it rises to {i}.") for i, text in enumerate(captions, 1)), captions
    text = page.select_one("article").get_text()
    assert text.index("before") < text.index("Figure 1") < text.index("Figure 2") < text.rindex("after")
    assert "show.caption" not in text and "not drawn" not in text
    assert text.count("how it rises") == 2, "each caption is printed once"


def test_text_in_a_table_is_marked():
    table = pd.DataFrame({"score": [0.123], "note": ["too few speakers: 2 speakers only"]})
    output = nbformat.v4.new_output("execute_result", {"text/html": table.to_html()})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("table", outputs=[output])])
    report.make_page(notebook)
    cells = BeautifulSoup(notebook.cells[0].outputs[0].data["text/html"], "html.parser").select("td")
    assert [cell.get("class") for cell in cells] == [None, ["words"]]


def heads(table: pd.DataFrame) -> list[list[str]]:
    output = nbformat.v4.new_output("display_data", {"text/html": table._repr_html_()})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("table", outputs=[output])])
    report.make_page(notebook)
    rows = BeautifulSoup(notebook.cells[0].outputs[0].data["text/html"], "html.parser").select("thead tr")
    return [[cell.text for cell in row.select("th")] for row in rows]


def test_a_table_has_one_row_of_names_unless_a_column_has_two():
    both = pd.MultiIndex.from_tuples([("ravdess", "sad")], names=["corpus", "emotion"])
    assert heads(pd.DataFrame({"uar": [0.5], "": [1]}, both)) == [["corpus", "emotion", "uar", ""]]
    assert heads(pd.DataFrame({"uar": [0.5]})) == [["", "uar"]]
    twice = pd.DataFrame({"uar": [0.5]}, pd.Index([1], name="fold")).rename_axis("score", axis=1)
    assert heads(twice) == [["score", "uar"], ["fold", ""]]
    assert len(heads(pd.DataFrame({("a", "uar"): [0.5]}, pd.Index([1], name="fold")))) == 3


def test_the_first_use_of_a_term_links_to_the_glossary():
    cell = nbformat.v4.new_markdown_cell
    cells = [
        cell("# Folds"),
        cell("`fold` and {term}`seed`: two\nfolds, a fold, a scaffold, one seed; a mel\nspectrogram."),
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    report.link_terms(notebook, ["fold", "seed", "mel spectrogram", "UAR"])
    assert notebook.cells[0].source == "# Folds"
    assert notebook.cells[1].source == (
        "`fold` and {term}`seed`: two\n{term}`folds <fold>`, a fold, a scaffold, one seed; "
        "a {term}`mel spectrogram <mel spectrogram>`."
    )


def test_a_link_to_a_notebook_becomes_a_link_to_its_page():
    text = "See [02](02_a.ipynb) and [03_b.ipynb](03_b.ipynb), not [this](https://x.y/z.ipynb)."
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(text)])
    report.make_page(notebook, pages={"02_a.ipynb": "first-a"})
    assert notebook.cells[0].source == "See {doc}`first-a` and `03_b.ipynb`, not [this](https://x.y/z.ipynb)."


def test_every_link_of_the_readme_is_a_file():
    links = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", (ROOT / "README.md").read_text())
    paths = [path for path in map("".join, links) if not path.startswith("https:")]
    assert len(paths) > 10 and not [path for path in paths if not (ROOT / path).exists()]


@pytest.mark.report
def test_a_chapter_names_the_packages_it_uses_also_without_an_api_reference(built: Path):
    assert "Packages used in this chapter: sernb.display." in soup(built, "small-run.html").get_text()


def test_the_reference_of_a_package_lists_its_exports_and_the_chapters_that_use_it(tmp_path: Path):
    listed = project(tmp_path, RUNS + "      - packages: sernb\n")
    book = report.read_book(listed)
    pages = {chapter.name: chapter for chapter in book.chapters if chapter.is_reference}
    assert list(pages) == [f"api-{name}" for name in sernb.PACKAGES]
    text = build._prose(pages["api-display"], book)
    assert ".. automodule:: sernb.display\n   :no-members:" in text and "Used in: {doc}`small-run`." in text
    assert ".. autofunction:: sernb.display.audio_table\n" in text and "\n## players\n" in text
    assert ".. autoexception:: sernb.report.ReportError\n" in build._prose(pages["api-report"], book)
    commands = build._prose(pages["api-cli"], book)
    assert "\n## `sernb run`\n" in commands and "* `--again`: Run even if" in commands
    assert "._" not in text, "no private names"
    assert all(build._prose(page, book) for page in pages.values())


@pytest.mark.report
def test_a_book_has_an_api_reference(tmp_path: Path):
    listed = project(tmp_path, RUNS + "      - packages: sernb\n")
    report.build_report(listed, tmp_path / "_build")
    page = soup(tmp_path / "_build", "api-display.html")
    assert page.find(id="sernb.display.audio_table") and page.select(
        "table.autosummary a[href='#sernb.display.caption']"
    )
    assert soup(tmp_path / "_build", "small-run.html").select("a[href^='api-display.html#']")
    for file in (tmp_path / "_build" / "html").glob("api-*.html"):
        text = soup(tmp_path / "_build", file.name).get_text()  # in the HTML, tags separate the words of a signature
        assert "object at 0x" not in text, f"{file.name} shows the address of an object"


@pytest.mark.parametrize("repository", ["", "owner/name"])
def test_links_to_notebook_services_need_a_known_repository(tmp_path: Path, monkeypatch, repository: str):
    monkeypatch.setenv("GITHUB_REPOSITORY", repository)
    text = build._launch(report.read_book(project(tmp_path)))
    links = ["https://mybinder.org/v2/gh/owner/name/HEAD?labpath=notebooks/small.ipynb"]
    links += ["https://colab.research.google.com/github/owner/name/blob/main/notebooks/small.ipynb"]
    assert re.findall(r"https://[^)]+", text) == (links if repository else [])


@pytest.mark.report
def test_nothing_is_fetched_and_nothing_is_broken(built: Path):
    for page in (built / "html").glob("*.html"):
        for element in soup(built, page.name).select("script, link[rel=stylesheet], img, audio, source, iframe"):
            address = element.get("src") or element.get("href") or ""
            assert not address.startswith(("http:", "https:", "//")), f"{page.name}: {address}"
        assert "Traceback" not in page.read_text() and "Executing" not in page.read_text()


@pytest.mark.report
def test_a_run_that_is_up_to_date_is_not_repeated(tmp_path: Path):
    listed = project(tmp_path)
    notebooks = [tmp_path / "_build" / "runs" / name for name in ("index/index.ipynb", "small-run/small.ipynb")]
    times = []
    for change in (None, None, listed.parent / "index.ipynb"):
        if change:
            small_notebooks.touch(change)
        report.build_report(listed, tmp_path / "_build")
        times.append([file.stat().st_mtime_ns for file in notebooks])
    assert times[0] == times[1]
    assert times[2][0] != times[1][0] and times[2][1] == times[1][1]


@pytest.mark.report
def test_a_book_is_built_again_only_if_something_changed(tmp_path: Path, monkeypatch):
    listed, rendered = project(tmp_path), []
    render = build._render
    monkeypatch.setattr("sernb.report.build._render", lambda *args: rendered.append(args) or render(*args))
    first = report.build_report(listed, tmp_path / "_build")
    assert report.build_report(listed, tmp_path / "_build") == first and len(rendered) == 1
    (listed.parent / "about.md").write_text(ABOUT.replace("See", "Look at"))
    report.build_report(listed, tmp_path / "_build")
    assert len(rendered) == 2 and "Look at" in soup(tmp_path / "_build", "about.html").get_text()
    # The book would be rendered again after each of these changes, as it was after the first one.
    output, page = tmp_path / "_build", first.with_name("about.html")
    digest, content = build._source_digest(output / "src"), page.read_bytes()
    assert build._is_built(digest, output)
    page.unlink()
    assert not build._is_built(digest, output)
    page.write_text("changed by hand")
    assert not build._is_built(digest, output)
    page.write_bytes(content)
    assert build._is_built(digest, output)
    monkeypatch.setattr("sernb.report.build.metadata.distributions", lambda: [])  # other packages than before
    assert build._source_digest(output / "src") != digest


@pytest.mark.report
@pytest.mark.parametrize("column", ["path", "clip", "sha256", "emotion"])
def test_a_page_that_shows_a_private_clip_is_refused(tmp_path: Path, column: str):
    """The author of a chapter may forget to withhold private names."""
    listed = project(tmp_path)
    write(tmp_path / "mine" / "anna & bert.wav", tone(0.2, 8000), 8000)
    (tmp_path / "mine" / "manifest.csv").write_text("file,emotion,speaker\nanna & bert.wav,sad,P1\n")
    code = "import pandas as pd\nfrom sernb import corpora\n\npd.set_option('display.max_colwidth', None)\n"
    code += f"corpora.load(CORPUS, DATA_DIR)[['{column}']]"
    parameters = "CORPUS = ''\nDATA_DIR = ''\nOUTPUT_DIR = ''\nSEED = 1\nMODELS = ['a']"
    small_notebooks.write(tmp_path / "notebooks" / "small.ipynb", code, parameters=parameters)
    listed.write_text(RUNS.replace("SEED: 7", "CORPUS: local, DATA_DIR: mine"))
    if column == "emotion":
        assert "sad" in soup(report.build_report(listed, tmp_path / "_build").parents[1], "small-run.html").get_text()
        return
    with pytest.raises(report.ReportError, match="the page small-run would show .* of a private corpus") as error:
        report.build_report(listed, tmp_path / "_build")
    assert "anna" not in str(error.value) and not (tmp_path / "_build" / "html").exists()


def test_a_chapter_without_a_heading_is_refused_before_it_runs(tmp_path: Path):
    listed = project(tmp_path)
    path = tmp_path / "notebooks" / "small.ipynb"
    path.write_text(path.read_text().replace("# A title", "## A title"))
    with pytest.raises(report.ReportError, match="small.ipynb has no first-level heading"):
        report.build_report(listed, tmp_path / "_build")


def test_imported_packages_are_recognised_in_any_form(tmp_path: Path):
    code = "from sernb import display as show, results as scores\nfrom sernb import corpora"
    notebook = small_notebooks.write(tmp_path / "n.ipynb", code)
    assert build._imported(notebook) == ["corpora", "display", "results"]


def test_long_runs_start_first(tmp_path: Path):
    short = small_notebooks.write(tmp_path / "short.ipynb")
    long = small_notebooks.write(tmp_path / "long.ipynb", parameters="EPOCHS = 3")
    jobs = [runs.Job(notebook, tmp_path / notebook.stem) for notebook in (short, long)]
    assert sorted(jobs, key=build._expected_length, reverse=True) == jobs[::-1], "a notebook that trains"
    for job, seconds in zip(jobs, (9.0, 2.0), strict=True):
        runs.record_job(job, status="finished", seconds=seconds)
    assert sorted(jobs, key=build._expected_length, reverse=True) == jobs, "by the seconds of the last run"


@pytest.mark.report
def test_a_failing_run_leaves_the_last_book_unchanged(tmp_path: Path):
    listed = project(tmp_path)
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("of the last report")
    build._write_stamp(tmp_path / "_build")
    small_notebooks.write(tmp_path / "notebooks" / "small.ipynb", "1 / 0")
    with pytest.raises(report.ReportError, match=r"1 of 2 runs failed(.|\n)*small-run: (.|\n)*ZeroDivisionError"):
        report.build_report(listed, tmp_path / "_build")
    assert runs.read_record(tmp_path / "_build" / "runs" / "index")["status"] == "finished", "other runs continue"
    assert (tmp_path / "_build" / "html" / "index.html").read_text() == "of the last report"


@pytest.mark.report
def test_a_broken_reference_means_no_book(tmp_path: Path):
    listed = project(tmp_path)
    (listed.parent / "about.md").write_text("# About\n\nSee [there](missing.md).\n")
    with pytest.raises(report.ReportError, match="missing"):
        report.build_report(listed, tmp_path / "_build")
    assert not (tmp_path / "_build" / "html").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("page: about.md", "page: abuot.md", "abuot.md"),
        ("notebook: notebooks/small.ipynb", "notebok: notebooks/small.ipynb", "did you mean `notebook`"),
        ('title: "Sounds & plots", ', "", "small-run has no `title`"),
        ("name: small-run", "name: about", "two pages have the name about"),
        ("name: small-run", "name: a/b", "may contain letters"),
        ("SEED: 7", "SEDE: 7", "did you mean SEED"),
        ("SEED: 7", "SEED: 7, SEED: 8", "occurs twice"),
        ("first: index.ipynb", "frist: index.ipynb", "did you mean `first`"),
        ("first: index.ipynb", "first: indx.ipynb\nfold_code: true", "indx.ipynb"),
        ("first: index.ipynb", "fold_code: hidden", "`fold_code` is true or false"),
        ("author: A. N. Author", "author: 7", "`author` must be text"),
        ("caption: Hear", "caption: [", "cannot be read"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_is_written(tmp_path: Path, old: str, new: str, message: str):
    listed = project(tmp_path, RUNS.replace(old, new))
    with pytest.raises((report.ReportError, runs.ParameterError), match=message):
        report.build_report(listed, tmp_path / "_build")
    assert not (tmp_path / "_build").exists()


def test_a_chapter_of_its_own_folds_its_code(tmp_path: Path):
    listed = project(tmp_path, RUNS.replace("name: small-run", "fold_code: true, name: small-run"))
    folded = {chapter.name: chapter.fold_code for chapter in report.read_book(listed).chapters}
    assert folded == dict.fromkeys(folded, False) | {"small-run": True}
    listed.write_text(listed.read_text().replace("fold_code: true", "fold_code: 1"))
    with pytest.raises(report.ReportError, match="`fold_code` is true or false"):
        report.read_book(listed)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("<pre>Traceback (most recent call last)</pre>", "Traceback"),
        ("<p>Executing: 10%</p>", "Executing"),
        ("<audio controls></audio>", "1 audio players without sound"),
        ("<audio controls><source type='audio/wav'></audio>", "1 audio players without sound"),
        ("<script src='https://cdn.example/require.js'></script>", "from the network"),
        ("<img src='//cdn.example/a.png'>", "from the network"),
        ("<img src='missing.png'>", "missing.png is missing"),
    ],
)
def test_the_check_reports_a_broken_page(tmp_path: Path, body: str, message: str):
    page = report.Chapter("page", Path("page.md"))
    (tmp_path / "page.html").write_text(f"<html><body>{body}</body></html>")
    book = report.Book(tmp_path, tmp_path, page, [])
    assert [problem for problem in report.check_book(tmp_path, book) if message in problem]
    (tmp_path / "page.html").write_text(
        "<audio><source src='data:audio/wav;base64,AA=='></audio><a href='https://x.y'>x</a>"
    )
    assert list(report.check_book(tmp_path, book)) == []
    (tmp_path / "page.html").unlink()
    assert list(report.check_book(tmp_path, book)) == ["page.html: the page is missing"]


def test_the_projects_own_list_is_valid():
    book = report.read_book(ROOT / "book" / "runs.yml")
    assert book.first.source.name == "index.ipynb"
    assert {chapter.source.name for chapter in book.chapters} >= {"01_explore.ipynb", "about-data.md", "references.md"}


def test_the_first_page_is_an_empty_notebook_with_parameters():
    notebook = nbformat.read(ROOT / "book" / "index.ipynb", as_version=4)
    assert list(runs.notebook_parameters(ROOT / "book" / "index.ipynb")) == ["RESULTS_DIR"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.report
def test_the_first_chapter_is_the_first_page_by_default(tmp_path: Path):
    listed = project(tmp_path, RUNS.replace("first: index.ipynb\n", ""))
    book = report.read_book(listed)
    assert book.first.name == "about" and "about" not in [c.name for _, chapters in book.parts for c in chapters]


@pytest.mark.parametrize(
    ("listed", "first"), [("runs.yml", "index"), ("reference.yml", "claims"), ("emodb.yml", "explore-emodb")]
)
def test_the_projects_own_lists_are_valid(listed: str, first: str):
    book = report.read_book(ROOT / "book" / listed)
    assert book.first.name == first and len(book.chapters) >= 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "See {doc}`elsewhere` and {doc}`this page <other>`.",
            "about.md links to pages .*: elsewhere, other. Add them",
        ),
        ("A {term}`clip`.", "about.md links to pages .*: glossary. Add"),
        ("{cite:p}`cao2014`", "about.md links to pages .*: references. Add"),
    ],
)
def test_a_link_to_a_page_that_is_not_listed_is_refused_before_anything_runs(tmp_path: Path, text: str, message: str):
    listed = project(tmp_path)
    (tmp_path / "book" / "about.md").write_text(f"# About\n\n{text}\n")
    with pytest.raises(report.ReportError, match=message):
        report.build_report(listed, tmp_path / "_build")
    assert not (tmp_path / "_build").exists()


def test_all_missing_files_and_pages_are_named_at_once(tmp_path: Path):
    listed = project(tmp_path, RUNS.replace("about.md", "abuot.md").replace("small.ipynb", "smal.ipynb"))
    with pytest.raises(report.ReportError, match=r"no file .*abuot.md, .*smal.ipynb"):
        report.read_book(listed)
    listed = project(tmp_path / "links")
    (listed.parent / "about.md").write_text("# About\n\nSee {doc}`elsewhere`.\n")
    small_notebooks.write(listed.parents[1] / "notebooks" / "small.ipynb", "# {doc}`other`, {term}`clip`")
    message = r"about.md links to .*: elsewhere; small.ipynb links to .*: glossary, other. Add them"
    with pytest.raises(report.ReportError, match=message):
        report.read_book(listed)


def test_code_is_folded_on_request():
    parameters = nbformat.v4.new_code_cell("SEED = 1", metadata={"tags": ["parameters"]})
    cells = [parameters, nbformat.v4.new_code_cell("1", metadata={"tags": ["remove-input"]})]
    notebook = nbformat.v4.new_notebook(cells=cells)
    report.make_page(notebook, fold_code=True)
    assert [cell.metadata["tags"] for cell in notebook.cells] == [["parameters", "hide-input"], ["remove-input"]]


def test_links_in_an_example_are_ignored(tmp_path: Path):
    listed = project(tmp_path)
    (tmp_path / "book" / "about.md").write_text("# About\n\n```md\n{doc}`elsewhere`\n```\n")
    assert report.read_book(listed)


@pytest.mark.parametrize("existing", ["src/thesis.tex", "html/index.html", "sphinx/conf.py", "notes.txt"])
def test_a_users_folder_is_refused_and_left_alone(tmp_path: Path, existing: str):
    file = tmp_path / "thesis" / existing
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(report.ReportError, match=rf"did not write, such as {existing.split('/')[0]}"):
        report.build_report(project(tmp_path), tmp_path / "thesis")
    (tmp_path / "thesis" / build.BUILD_STAMP).write_text("a text of the user's with this name")
    with pytest.raises(report.ReportError, match="choose a new or empty folder"):
        report.build_report(tmp_path / "book" / "runs.yml", tmp_path / "thesis")
    assert file.read_text() == "mine" and not (tmp_path / "thesis" / "runs").exists()
    with pytest.raises(report.ReportError, match="is a file"):
        report.build_report(tmp_path / "book" / "runs.yml", file)


@pytest.mark.slow
def test_a_folder_into_which_another_report_writes_is_refused(tmp_path: Path):
    listed = project(tmp_path)
    with utils.output_lock(tmp_path / "_build"), pytest.raises(utils.FolderInUseError, match=r"in use by process \d+"):
        report.build_report(listed, tmp_path / "_build")


@pytest.mark.report
def test_a_folders_name_is_text_and_other_files_in_a_reports_folder_stay(tmp_path: Path):
    folder = tmp_path / "a[1] {b} *"
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n")
    first = report.build_report(project(tmp_path), folder)
    assert first == folder / "html" / "index.html" and "First" in first.read_text()
    (folder / "notes.txt").write_text("mine")
    (tmp_path / "book" / "about.md").write_text(ABOUT + "\nMore.\n")
    report.build_report(tmp_path / "book" / "runs.yml", folder)
    assert "More." in soup(folder, "about.html").get_text() and (folder / "notes.txt").read_text() == "mine"
