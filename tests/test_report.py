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

from sernb import report
from sernb import runs
from sernb.report import build

ROOT = Path(__file__).parents[1]
RUNS = """\
first: index.ipynb
parts:
  - caption: Hear
    chapters:
      - page: about.md
      - {name: heard, notebook: notebooks/small.ipynb, title: "Heard & seen", parameters: {SEED: 7, MODELS: [b]}}
"""
ABOUT = """\
# About

See {cite}`cao2014`.

% chapters that use sernb.display.players

% chapters that use sernb.display.audio

```{bibliography}
```
"""


FIGURES = """\
import matplotlib.pyplot as plt
from sernb import plots

print("before")
for i in (1, 2):
    plt.plot([0, i])
    plots.caption(f"**Look** how it rises to {i}.", alt=f"A line up to {i}.")
if i > 2:
    plt.plot([0, i])
    plots.caption("This is not drawn.")
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
def test_every_listed_page_is_there_and_in_the_contents(built: Path):
    toc = yaml.safe_load((built / "src" / "_toc.yml").read_text())
    assert toc["parts"] == [{"caption": "Hear", "chapters": [{"file": "about"}, {"file": "heard"}]}]
    links = [link.get_text(strip=True) for link in soup(built, "index.html").select("nav.bd-links a.reference")]
    assert links == ["About", "Heard & seen"]
    for page, heading in [("index.html", "First"), ("about.html", "About"), ("heard.html", "Heard & seen")]:
        assert soup(built, page).h1.get_text().startswith(heading)


@pytest.mark.report
def test_the_players_play(built: Path):
    players = soup(built, "heard.html").select("audio source, audio[src]")
    assert len(players) == 1
    data = base64.b64decode(players[0]["src"].split(",", 1)[1])
    signal, rate = soundfile.read(io.BytesIO(data))
    assert rate == 8000 and len(signal) == 4000 and signal.any()


@pytest.mark.report
def test_a_page_shows_what_ran_and_how_to_run_it(built: Path):
    text = soup(built, "heard.html").get_text()
    assert "SEED = 7  # a comment" in text and "MODELS = ['b']" in text and "SEED = 1" not in text
    assert "sernb run notebooks/small.ipynb -p SEED 7 -p MODELS '[\"b\"]'" in text
    assert str(built) not in (built / "html" / "heard.html").read_text(), "no path of this machine"


@pytest.mark.report
def test_what_is_offered_for_download_is_the_notebook_without_its_outputs(built: Path):
    offered = nbformat.read(built / "html" / "_sources" / "heard.ipynb", as_version=4)
    code = [cell for cell in offered.cells if cell.cell_type == "code"]
    assert code and not any(cell.outputs or cell.execution_count for cell in code)
    assert soup(built, "heard.html").select("a[href='_sources/heard.ipynb']"), "the button leads there"
    assert soup(built, "heard.html").select("audio"), "the page itself keeps its players"
    assert not list((built / "html").rglob("*.map"))


@pytest.mark.report
def test_figures_have_numbers_captions_and_alt_texts(built: Path):
    page = soup(built, "heard.html")
    figures = page.select("figure")
    assert [figure.img["alt"] for figure in figures] == ["A line up to 1.", "A line up to 2."]
    captions = [figure.figcaption.get_text().strip() for figure in figures]
    assert all(text.startswith(f"Figure {i} Look how it rises to {i}.") for i, text in enumerate(captions, 1)), captions
    text = page.select_one("article").get_text()
    assert text.index("before") < text.index("Figure 1") < text.index("Figure 2") < text.rindex("after")
    assert "plots.caption" not in text and "not drawn" not in text and text.count("how it rises") == 2, (
        "the text of a caption stands there once"
    )


def test_words_in_a_table_are_told_from_numbers():
    table = pd.DataFrame({"score": [0.123], "note": ["too little to go by: 2 speakers"]})
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


def test_the_first_use_of_a_term_leads_to_the_glossary():
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


def test_every_link_of_the_readme_leads_to_a_file():
    found = re.findall(r"\]\(([^)]+)\)|src=\"([^\"]+)\"", (ROOT / "README.md").read_text())
    places = [place for place in map("".join, found) if not place.startswith("https:")]
    assert len(places) > 10 and not [place for place in places if not (ROOT / place).exists()]


@pytest.mark.report
def test_chapters_and_modules_name_one_another(built: Path):
    """The small book has no API reference: names without links, and nothing is broken."""
    assert (
        "Helpers of this chapter: sernb.display.players, sernb.display.audio." in soup(built, "heard.html").get_text()
    )
    links = soup(built, "about.html").select("p a[href='heard.html']")
    assert [link.parent.get_text() for link in links] == ["At work in: Heard & seen."] * 2


@pytest.mark.parametrize("repository", ["", "owner/name"])
def test_links_to_other_machines_only_where_the_repository_is_known(tmp_path: Path, monkeypatch, repository: str):
    monkeypatch.setenv("GITHUB_REPOSITORY", repository)
    said = build._launch(report.read_book(project(tmp_path)))
    found = ["https://mybinder.org/v2/gh/owner/name/HEAD?labpath=notebooks/small.ipynb"]
    found += ["https://colab.research.google.com/github/owner/name/blob/main/notebooks/small.ipynb"]
    assert re.findall(r"https://[^)]+", said) == (found if repository else [])


@pytest.mark.report
def test_nothing_is_fetched_and_nothing_is_broken(built: Path):
    for page in (built / "html").glob("*.html"):
        for element in soup(built, page.name).select("script, link[rel=stylesheet], img, audio, source, iframe"):
            address = element.get("src") or element.get("href") or ""
            assert not address.startswith(("http:", "https:", "//")), f"{page.name}: {address}"
        assert "Traceback" not in page.read_text() and "Executing" not in page.read_text()


@pytest.mark.report
def test_what_is_fresh_is_not_run_again(tmp_path: Path):
    listed = project(tmp_path)
    made = [tmp_path / "_build" / "runs" / name for name in ("index/index.ipynb", "heard/small.ipynb")]
    times = []
    for change in (None, None, listed.parent / "index.ipynb"):
        if change:
            small_notebooks.touch(change)
        report.build_report(listed, tmp_path / "_build")
        times.append([file.stat().st_mtime_ns for file in made])
    assert times[0] == times[1]
    assert times[2][0] != times[1][0] and times[2][1] == times[1][1]


@pytest.mark.report
def test_a_book_is_built_again_only_if_something_changed(tmp_path: Path, monkeypatch):
    listed, rendered = project(tmp_path), []
    render = build._render
    monkeypatch.setattr("sernb.report.build._render", lambda *given: rendered.append(given) or render(*given))
    first = report.build_report(listed, tmp_path / "_build")
    assert report.build_report(listed, tmp_path / "_build") == first and len(rendered) == 1
    (listed.parent / "about.md").write_text(ABOUT.replace("See", "Look at"))
    report.build_report(listed, tmp_path / "_build")
    assert len(rendered) == 2 and "Look at" in soup(tmp_path / "_build", "about.html").get_text()
    for spoil in (lambda page: page.unlink(), lambda page: page.write_text("of somebody else")):
        spoil(first.with_name("about.html"))
        report.build_report(listed, tmp_path / "_build")
        assert "Look at" in soup(tmp_path / "_build", "about.html").get_text()
    monkeypatch.setattr("sernb.report.build.metadata.distributions", lambda: [])  # other packages than before
    report.build_report(listed, tmp_path / "_build")
    assert len(rendered) == 5


@pytest.mark.report
@pytest.mark.parametrize("told", ["path", "clip", "sha256", "emotion"])
def test_a_chapter_that_names_a_private_clip_is_no_page(tmp_path: Path, told: str):
    """Whoever writes a chapter may forget to ask `privacy`."""
    listed = project(tmp_path)
    write(tmp_path / "mine" / "anna & bert.wav", tone(0.2, 8000), 8000)
    (tmp_path / "mine" / "manifest.csv").write_text("file,emotion,speaker\nanna & bert.wav,sad,P1\n")
    code = "import pandas as pd\nfrom sernb import corpora\n\npd.set_option('display.max_colwidth', None)\n"
    code += f"corpora.load(CORPUS, DATA_DIR)[['{told}']]"
    given = "CORPUS = ''\nDATA_DIR = ''\nOUTPUT_DIR = ''\nSEED = 1\nMODELS = ['a']"
    small_notebooks.write(tmp_path / "notebooks" / "small.ipynb", code, parameters=given)
    listed.write_text(RUNS.replace("SEED: 7", "CORPUS: local, DATA_DIR: mine"))
    if told == "emotion":
        assert "sad" in soup(report.build_report(listed, tmp_path / "_build").parents[1], "heard.html").get_text()
        return
    with pytest.raises(report.ReportError, match="the page heard would show .* of a private corpus") as refused:
        report.build_report(listed, tmp_path / "_build")
    assert "anna" not in str(refused.value) and not (tmp_path / "_build" / "html").exists()


def test_a_chapter_without_a_heading_is_refused_before_it_runs(tmp_path: Path):
    listed = project(tmp_path)
    path = tmp_path / "notebooks" / "small.ipynb"
    path.write_text(path.read_text().replace("# A title", "## A title"))
    with pytest.raises(report.ReportError, match="small.ipynb has no first-level heading"):
        report.build_report(listed, tmp_path / "_build")


def test_helpers_are_found_however_they_are_imported(tmp_path: Path):
    code = "from sernb import display as show, results as scores\nfrom sernb import corpora"
    notebook = small_notebooks.write(tmp_path / "n.ipynb", code)
    assert build._imported(notebook) == ["corpora", "players", "plots"]


def test_runs_that_take_long_begin_first(tmp_path: Path):
    short = small_notebooks.write(tmp_path / "short.ipynb")
    long = small_notebooks.write(tmp_path / "long.ipynb", parameters="EPOCHS = 3")
    jobs = [runs.Job(notebook, tmp_path / notebook.stem) for notebook in (short, long)]
    assert sorted(jobs, key=build._expected_length, reverse=True) == jobs[::-1], "training, as far as one can tell"
    for job, seconds in zip(jobs, (9.0, 2.0), strict=True):
        runs.write_record(job, status="finished", seconds=seconds)
    assert sorted(jobs, key=build._expected_length, reverse=True) == jobs, "as it was the last time"


@pytest.mark.report
def test_a_failing_run_leaves_the_last_book_alone(tmp_path: Path):
    listed = project(tmp_path)
    (tmp_path / "_build" / "html").mkdir(parents=True)
    (tmp_path / "_build" / "html" / "index.html").write_text("of the last report")
    small_notebooks.write(tmp_path / "notebooks" / "small.ipynb", "1 / 0")
    with pytest.raises(report.ReportError, match=r"1 of 2 runs failed(.|\n)*heard: (.|\n)*ZeroDivisionError"):
        report.build_report(listed, tmp_path / "_build")
    assert runs.read_record(tmp_path / "_build" / "runs" / "index")["status"] == "finished", "the others go on"
    assert (tmp_path / "_build" / "html" / "index.html").read_text() == "of the last report"


@pytest.mark.report
def test_a_broken_reference_means_no_book(tmp_path: Path):
    listed = project(tmp_path)
    (listed.parent / "about.md").write_text("# About\n\nSee [there](missing.md).\n")
    with pytest.raises(report.ReportError, match="missing"):
        report.build_report(listed, tmp_path / "_build")
    assert not (tmp_path / "_build" / "html").exists()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("page: about.md", "page: abuot.md", "abuot.md"),
        ("notebook: notebooks/small.ipynb", "notebok: notebooks/small.ipynb", "did you mean `notebook`"),
        ('title: "Heard & seen", ', "", "heard lacks `title`"),
        ("name: heard", "name: about", "two pages are named about"),
        ("name: heard", "name: a/b", "cannot name a page"),
        ("SEED: 7", "SEDE: 7", "did you mean SEED"),
        ("SEED: 7", "SEED: 7, SEED: 8", "stands twice"),
        ("first: index.ipynb", "frist: index.ipynb", "first"),
        ("caption: Hear", "caption: [", "cannot be read"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_happens(tmp_path: Path, old: str, new: str, says: str):
    listed = project(tmp_path, RUNS.replace(old, new))
    with pytest.raises((report.ReportError, runs.ParameterError), match=says):
        report.build_report(listed, tmp_path / "_build")
    assert not (tmp_path / "_build").exists()


@pytest.mark.parametrize(
    ("body", "says"),
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
def test_the_check_finds_a_broken_page(tmp_path: Path, body: str, says: str):
    page = report.Chapter("page", Path("page.md"))
    (tmp_path / "page.html").write_text(f"<html><body>{body}</body></html>")
    book = report.Book(tmp_path, tmp_path, page, [])
    assert [problem for problem in report.check_book(tmp_path, book) if says in problem]
    (tmp_path / "page.html").write_text(
        "<audio><source src='data:audio/wav;base64,AA=='></audio><a href='https://x.y'>x</a>"
    )
    assert list(report.check_book(tmp_path, book)) == []
    (tmp_path / "page.html").unlink()
    assert list(report.check_book(tmp_path, book)) == ["page.html: the page is missing"]


def test_the_projects_own_list_is_right():
    book = report.read_book(ROOT / "book" / "runs.yml")
    assert book.first.source.name == "index.ipynb"
    assert {chapter.source.name for chapter in book.chapters} >= {"01_explore.ipynb", "about-data.md", "references.md"}


def test_the_first_page_is_an_empty_notebook_with_parameters():
    notebook = nbformat.read(ROOT / "book" / "index.ipynb", as_version=4)
    assert list(runs.notebook_parameters(ROOT / "book" / "index.ipynb")) == ["RESULTS_DIR"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.report
def test_without_a_first_page_the_first_chapter_is_it(tmp_path: Path):
    listed = project(tmp_path, RUNS.replace("first: index.ipynb\n", ""))
    book = report.read_book(listed)
    assert book.first.name == "about" and "about" not in [c.name for _, chapters in book.parts for c in chapters]


@pytest.mark.parametrize(("listed", "first"), [("runs.yml", "index"), ("reference.yml", "claims")])
def test_the_projects_own_lists_are_right(listed: str, first: str):
    book = report.read_book(ROOT / "book" / listed)
    assert book.first.name == first and len(book.chapters) >= 5


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "See {doc}`elsewhere` and {doc}`this page <other>`.",
            "about.md leads to pages .*: elsewhere, other. Add them",
        ),
        ("A {term}`clip`.", "about.md leads to pages .*: glossary. Add"),
        ("{cite:p}`cao2014`", "about.md leads to pages .*: references. Add"),
    ],
)
def test_a_list_that_lacks_what_a_page_leads_to_is_refused_before_anything_runs(tmp_path: Path, text: str, says: str):
    listed = project(tmp_path)
    (tmp_path / "book" / "about.md").write_text(f"# About\n\n{text}\n")
    with pytest.raises(report.ReportError, match=says):
        report.build_report(listed, tmp_path / "_build")
    assert not (tmp_path / "_build").exists()


def test_links_in_an_example_lead_nowhere(tmp_path: Path):
    listed = project(tmp_path)
    (tmp_path / "book" / "about.md").write_text("# About\n\n```md\n{doc}`elsewhere`\n```\n")
    assert report.read_book(listed)
