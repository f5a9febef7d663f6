"""Names that are code, and names that nobody may read: a corpus of them becomes a small book, read in a browser."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.audio_files import tone
from support.audio_files import write

from sernb import corpora
from sernb import features
from sernb import report
from sernb import results
from sernb import runs

pytestmark = pytest.mark.report
ROOT = Path(__file__).parents[1]
# Each is text that some reader of it would take for code: a browser, Markdown, MyST, Jinja, matplotlib, a terminal.
CODE = [
    "<script>window.hacked=1</script>",
    "<img src=x onerror=window.hacked=2>",
    '" autofocus onfocus="window.hacked=3" x="',
    "' onmouseover='window.hacked=4",
    "a & b &lt;b&gt; &amp;amp;",
    "{{ title }} {% raw %} ${window.hacked=5}",
    "**bold** `code` [link](javascript:window.hacked=6)",
    "\u202egnp.exe \u05d0\u05d1 \u0645\u0631",
    "$x^2$ \\frac{1}{0} | a | b |",
    "--> <!-- ]]> </td></table></style></textarea>",
]
# What is looked for where it must not be.
WORDS = ("zqspeaker", "zqclip", "zqstatement", "zqcondition")
PRIVATE_HOME = "zqhome"
TINY = {"EPOCHS": 1, "PROTOCOL": "speaker", "SPLIT": "60:20:20", "AUGMENT": "none"}


def corpus(root: Path, *, publishable: bool) -> Path:
    """Ten speakers of two emotions, everything about them hostile, and two clips that cannot be used."""
    rows = []
    for i, code in enumerate(CODE):
        for j, emotion in enumerate(["sad", "happy"]):
            name = f"zqclip{j}{i} {code}.wav".replace("/", "\u2215")
            silent = j == 0 and i in (1, 6)
            signal = tone(1.2, 16_000, 150 + 20 * i + 100 * j)
            write(root / name, np.zeros_like(signal) if silent else signal, 16_000)
            rows.append([name, emotion, f"zqspeaker {code}", f"zqstatement {code}", f"zqcondition {code}"])
    table(root / "manifest.csv", [["file", "emotion", "speaker", "statement", "condition"], *rows])
    agreed = [[speaker, "yes", "yes", ""] for speaker in dict.fromkeys(row[2] for row in rows)]
    table(root / "consent.csv", [["speaker", "consent", "publish", "time"], *agreed])
    if publishable:
        corpora.mark_publishable(root, "they are made of tones")
    return root


def table(file: Path, rows: list[list[str]]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)


def book(folder: Path, data: Path) -> Path:
    """Chapters 1 and 3 on a corpus, as a book; returns the folder of its output."""
    (folder / "book").mkdir(parents=True)
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copy(ROOT / "book" / "references.bib", folder / "book")
    shutil.copytree(ROOT / "book" / "_static", folder / "book" / "_static")
    given = {"CORPUS": "local", "DATA_DIR": str(data)}
    chapters = [
        {"name": "heard", "notebook": "notebooks/01_explore.ipynb", "title": "Heard", "parameters": given},
        {
            "name": "learnt",
            "notebook": "notebooks/03_paper_replication.ipynb",
            "title": "Learnt",
            "parameters": given | TINY,
        },
    ]
    (folder / "book" / "runs.yml").write_text(yaml.safe_dump({"parts": [{"caption": "Mine", "chapters": chapters}]}))
    report.build_report(folder / "book" / "runs.yml", folder / "_build", workers=2)
    return folder / "_build"


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("published") / PRIVATE_HOME
    return book(folder, corpus(folder / "corpus", publishable=True))


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    """A book of a corpus that is not publishable, with a feature store of its own."""
    folder = tmp_path_factory.mktemp("private") / PRIVATE_HOME
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERNB_CACHE", str(folder / "cache"))
        yield book(folder, corpus(folder / "corpus", publishable=False))


def leaks(folder: Path, words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Which files hold which words, in their names or their bytes."""
    found = []
    for path in sorted(folder.rglob("*")):
        held = str(path.relative_to(folder)).lower().encode() + (path.read_bytes().lower() if path.is_file() else b"")
        found += [(str(path.relative_to(folder)), word) for word in words if word.encode() in held]
    return found


def test_no_name_runs_in_a_browser_and_every_name_can_be_read(published, browser):
    page, errors = browser.new_page(), []
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.on("pageerror", lambda error: errors.append(str(error)))
    texts = {}
    for name in ("heard", "learnt"):
        page.goto((published / "html" / f"{name}.html").as_uri())
        page.mouse.move(300, 300)
        page.wait_for_timeout(300)
        assert page.evaluate("window.hacked") is None
        assert page.locator("article script:not([type])").count() == 0
        assert page.locator("article [onerror], article [onfocus], article [onmouseover]").count() == 0
        assert page.locator("article a[href^=javascript]").count() == 0
        # As it stands in the document: what is shown folds blanks.
        texts[name] = page.locator("article").evaluate("element => element.textContent")
    assert not errors
    for code in CODE:
        for word in ("zqstatement", "zqcondition"):
            assert f"{word} {code}" in texts["heard"]
    for text in texts.values():
        assert f"zqclip01 {CODE[1]}.wav" in text and f"zqclip06 {CODE[6]}.wav" in text, "clips that are left out"
    for code in CODE[1:3]:  # the second clip of each emotion that can be used
        assert f"zqspeaker {code}" in texts["heard"], "beside its player"


def test_a_published_page_does_not_say_where_it_was_made(published):
    assert not leaks(published / "html", (PRIVATE_HOME, str(Path.home()).lower() + "/"))


def test_a_private_corpus_is_on_no_page(private, published):
    assert {word for _, word in leaks(published / "html", WORDS)} == set(WORDS), "found where they may stand"
    assert "Private corpus" in (private / "html" / "heard.html").read_text(encoding="utf-8")
    assert not leaks(private / "html", (*WORDS, PRIVATE_HOME))
    assert "<audio" not in (private / "html" / "learnt.html").read_text(encoding="utf-8")


def test_a_private_corpus_is_in_no_table_that_is_published(private, tmp_path):
    """What a sweep of this one run would leave as results.csv, and what is published of it."""
    sweep = tmp_path / "sweep"
    shutil.copytree(private / "runs" / "learnt", sweep / "learnt")
    runs.write_results_table([runs.Job(Path("learnt.ipynb"), sweep / "learnt")], sweep / "results.csv")
    assert len(results.results_table(sweep)) == 1
    written = (sweep / "results.csv").read_text()
    assert not [word for word in (*WORDS, PRIVATE_HOME) if word in written]
    results.publish_sweep(sweep, tmp_path / "results")
    assert not leaks(tmp_path / "results", (*WORDS, PRIVATE_HOME))


def test_a_failed_run_of_a_private_corpus_tells_results_csv_no_more(tmp_path):
    """Its error names the clip or the folder: in the run's notebook, and to the user."""
    folder = tmp_path / PRIVATE_HOME
    given = {"CORPUS": "local", "DATA_DIR": str(corpus(folder / "corpus", publishable=False)), **TINY, "STRICT": True}
    job = runs.Job(ROOT / "notebooks" / "03_paper_replication.ipynb", folder / "sweep" / "strict", given)
    with pytest.raises(runs.RunError, match="2 of 20 clips cannot be used"):
        runs.run_notebook(job.notebook, job.parameters, job.output_dir)
    runs.write_results_table([job], folder / "sweep" / "results.csv")
    written = (folder / "sweep" / "results.csv").read_text()
    assert "failed: AudioError" in written
    assert not [word for word in (*WORDS, PRIVATE_HOME) if word in written]


def test_the_store_holds_digests_and_numbers_alone(private):
    cache = private.parent / "cache"
    stores = list(cache.rglob("*.sqlite"))
    assert {store.name.split("-")[0] for store in stores} >= {"zcr_rms", "mfcc"}
    assert not leaks(cache, (*WORDS, PRIVATE_HOME))


def test_what_is_logged_has_no_names(tmp_path, capfd):
    """Loading, extracting, leaving out: nothing of it writes a name where a page or a log would keep it."""
    loaded = corpora.load("local", corpus(tmp_path / PRIVATE_HOME, publishable=False))
    kept, out = features.split_usable(loaded, "zcr_rms", sample_rate=16_000)
    assert (len(kept), len(out)) == (18, 2)
    told = [features.describe_unusable(kept, out), *capfd.readouterr()]
    assert "silent" in told[0]
    assert not [word for word in (*WORDS, PRIVATE_HOME) for text in told if word in text]
