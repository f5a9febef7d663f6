"""A corpus whose names are code, or private, becomes a small book that is read in a browser."""

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
# Text that a browser, Markdown, MyST, Jinja, matplotlib or a terminal could interpret as code.
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
# Words that mark private content.
WORDS = ("zqspeaker", "zqclip", "zqstatement", "zqcondition")
PRIVATE_HOME = "zqhome"
TINY = {"EPOCHS": 1, "PROTOCOL": "speaker", "SPLIT": "60:20:20", "AUGMENT": "none"}


def corpus(root: Path, *, publishable: bool) -> Path:
    """Write a corpus of ten speakers and two emotions with hostile names everywhere, and two unusable clips."""
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
        corpora.mark_publishable(root, "they are synthetic tones")
    return root


def table(file: Path, rows: list[list[str]]) -> None:
    with open(file, "w", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows(rows)


def book(folder: Path, data: Path) -> Path:
    """Build chapters 1 and 3 on a corpus as a book, and return its output folder."""
    (folder / "book").mkdir(parents=True)
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copy(ROOT / "book" / "references.bib", folder / "book")
    shutil.copytree(ROOT / "book" / "_static", folder / "book" / "_static")
    parameters = {"CORPUS": "local", "DATA_DIR": str(data)}
    chapters = [
        {"name": "explore", "notebook": "notebooks/01_explore.ipynb", "title": "Explore", "parameters": parameters},
        {
            "name": "train",
            "notebook": "notebooks/03_paper_replication.ipynb",
            "title": "Train",
            "parameters": parameters | TINY,
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
    """A book on a corpus that is not publishable, with its own feature store."""
    folder = tmp_path_factory.mktemp("private") / PRIVATE_HOME
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERNB_CACHE", str(folder / "cache"))
        yield book(folder, corpus(folder / "corpus", publishable=False))


def leaks(folder: Path, words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return each file with each of the words that its name or its bytes contain."""
    matches = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        content = name.lower().encode() + (path.read_bytes().lower() if path.is_file() else b"")
        matches += [(name, word) for word in words if word.encode() in content]
    return matches


def test_names_are_displayed_as_text_and_never_run(published, browser):
    page, errors = browser.new_page(), []
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.on("pageerror", lambda error: errors.append(str(error)))
    texts = {}
    for name in ("explore", "train"):
        page.goto((published / "html" / f"{name}.html").as_uri())
        page.mouse.move(300, 300)
        page.wait_for_timeout(300)
        assert page.evaluate("window.hacked") is None
        assert page.locator("article script:not([type])").count() == 0
        assert page.locator("article [onerror], article [onfocus], article [onmouseover]").count() == 0
        assert page.locator("article a[href^=javascript]").count() == 0
        # textContent, as the visible text collapses spaces.
        texts[name] = page.locator("article").evaluate("element => element.textContent")
    assert not errors
    for code in CODE:
        for word in ("zqstatement", "zqcondition"):
            assert f"{word} {code}" in texts["explore"]
    for text in texts.values():
        assert f"zqclip01 {CODE[1]}.wav" in text and f"zqclip06 {CODE[6]}.wav" in text, "unusable clips are listed"
    for code in CODE[1:3]:  # the second usable clip of each emotion
        assert f"zqspeaker {code}" in texts["explore"], "next to its player"


def test_a_published_page_contains_no_path_of_the_machine(published):
    assert not leaks(published / "html", (PRIVATE_HOME, str(Path.home()).lower() + "/"))


def test_no_page_contains_private_content(private, published):
    assert {word for _, word in leaks(published / "html", WORDS)} == set(WORDS), (
        "the words are found on a page that may show them"
    )
    assert "Private corpus" in (private / "html" / "explore.html").read_text(encoding="utf-8")
    assert not leaks(private / "html", (*WORDS, PRIVATE_HOME))
    assert "<audio" not in (private / "html" / "train.html").read_text(encoding="utf-8")


def test_no_published_table_contains_private_content(private, tmp_path):
    """The results.csv of a sweep of this one run, and its published version."""
    sweep = tmp_path / "sweep"
    shutil.copytree(private / "runs" / "train", sweep / "train")
    runs.write_results_table([runs.Job(Path("train.ipynb"), sweep / "train")], sweep / "results.csv")
    assert len(results.results_table(sweep)) == 1
    text = (sweep / "results.csv").read_text()
    assert not [word for word in (*WORDS, PRIVATE_HOME) if word in text]
    results.publish_sweep(sweep, tmp_path / "results")
    assert not leaks(tmp_path / "results", (*WORDS, PRIVATE_HOME))


def test_the_status_of_a_failed_run_contains_nothing_private(tmp_path):
    """Its error names the clip or the folder, but only in the run's notebook and to the user."""
    folder = tmp_path / PRIVATE_HOME
    data_dir = str(corpus(folder / "corpus", publishable=False))
    parameters = {"CORPUS": "local", "DATA_DIR": data_dir, **TINY, "STRICT": True}
    job = runs.Job(ROOT / "notebooks" / "03_paper_replication.ipynb", folder / "sweep" / "strict", parameters)
    with pytest.raises(runs.RunError, match="2 of 20 clips cannot be used"):
        runs.run_notebook(job.notebook, job.parameters, job.output_dir)
    runs.write_results_table([job], folder / "sweep" / "results.csv")
    text = (folder / "sweep" / "results.csv").read_text()
    assert "failed: AudioError" in text
    assert not [word for word in (*WORDS, PRIVATE_HOME) if word in text]


def test_the_store_contains_only_digests_and_numbers(private):
    cache = private.parent / "cache"
    stores = list(cache.rglob("*.sqlite"))
    assert {store.name.split("-")[0] for store in stores} >= {"zcr_rms", "mfcc"}
    assert not leaks(cache, (*WORDS, PRIVATE_HOME))


def test_logs_contain_nothing_private(tmp_path, capfd):
    """Loading clips, extracting features and describing unusable clips writes no name that a page or log would keep."""
    clips = corpora.load("local", corpus(tmp_path / PRIVATE_HOME, publishable=False))
    usable, unusable = features.split_usable(clips, "zcr_rms", sample_rate=16_000)
    assert (len(usable), len(unusable)) == (18, 2)
    texts = [features.describe_unusable(usable, unusable), *capfd.readouterr()]
    assert "silent" in texts[0]
    assert not [word for word in (*WORDS, PRIVATE_HOME) for text in texts if word in text]
