"""Notebook 06: as a page, and in a real JupyterLab with a real browser and a microphone that plays a known file."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
import soundfile
from playwright.sync_api import expect
from playwright.sync_api import sync_playwright
from support import lab
from support.browser import CHROMIUM
from typer.testing import CliRunner

from sernb import cli
from sernb import corpora
from sernb import report
from sernb import results
from sernb import runs

NAMES = ("Ann", "Bob", "Cyd", "Dee", "Eve", "Fay")


@pytest.fixture(scope="module")
def page_run(tmp_path_factory) -> Path:
    """Run 06 headless, as for a page; it also trains a small network."""
    folder = tmp_path_factory.mktemp("page")
    parameters = {"MAX_CLIPS": 48, "EPOCHS": 1, "RECORD_DIR": str(folder / "mine")}
    runs.run_notebook(lab.ROOT / "notebooks" / "06_listen.ipynb", parameters, folder / "run", cwd=lab.ROOT)
    return folder / "run"


def page_outputs(folder: Path) -> str:
    cells = nbformat.read(folder / "06_listen.ipynb", 4).cells
    return json.dumps([output for cell in cells for output in cell.get("outputs", [])])


@pytest.mark.notebook
def test_the_page_shows_each_tool_once(page_run):
    page = page_outputs(page_run)
    assert page.count("<audio") == 6 and page.count('"image/png": "') == 4
    assert page.count("JupyterLab shows an interactive panel here") == 6
    for words in ("S01_", "cannot be decoded", "can be split", "UAR on unseen speakers", "Not a diagnosis"):
        assert words in page
    assert "widget-view" not in page and '"name": "stderr"' not in page
    assert (page_run / "model" / "inputs.json").is_file() and not (page_run.parent / "mine").exists()


def recordings_folder(folder: Path) -> Path:
    """Write 24 recordings of six people in two emotions, with names of their own, and one file that is no audio."""
    folder.mkdir()
    table = corpora.load("demo-local", emotions=["angry", "sad"])
    table = table[table["speaker"].isin([f"P{i:02}" for i in range(1, 7)])].reset_index(drop=True)
    for i, row in table.iterrows():
        name = f"{NAMES[int(row['speaker'][1:]) - 1]} - {row['emotion'][:3].upper()} - {i}.ogg"
        shutil.copy(row["path"], folder / name)
    (folder / "Bob - SAD - 99.wav").write_text("no audio")
    return folder


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """Start a browser; yield it with the file that its microphone plays."""
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    microphone = lab.spoken(tmp_path_factory.mktemp("heard") / "microphone.wav")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=lab.browser_flags(microphone))
        yield browser, microphone
        browser.close()


@pytest.fixture(scope="module")
def desk(chromium, page_run, tmp_path_factory):
    """06 open in JupyterLab with every cell run; the browser's errors and the addresses of its requests."""
    folder = tmp_path_factory.mktemp("lab")
    (work := folder / "work").mkdir()
    parameters = {"MAX_CLIPS": 48, "RUN_DIR": str(page_run / "model"), "RECORD_DIR": str(folder / "mine")}
    lab.notebook_for_test(work, **parameters, OUTPUT_DIR=str(folder / "out"))
    browser, microphone = chromium
    with lab.jupyterlab(work) as address:
        page, errors, requests = browser.new_page(viewport={"width": 1500, "height": 1100}), [], set()
        page.set_default_timeout(lab.PATIENCE / 4)
        page.on("console", lambda entry: errors.append(entry.text) if entry.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.add(re.sub(r"^(\w+:)(//[^/]*)?.*$", r"\1\2", request.url)))
        page.goto(f"{address}/lab/tree/06_listen.ipynb")
        lab.run_all(page)
        page.locator(".sernb-view").first.wait_for(state="attached")
        lab.wait_until_idle(page)
        yield SimpleNamespace(
            page=page, folder=folder, mine=folder / "mine", microphone=microphone, errors=errors, requests=requests,
            address=address,
        )  # fmt: skip
        page.close()


def press(view, key: str) -> str:
    """Press a key in the browse panel; return the title of the clip that is then shown."""
    before = int(view.get_attribute("data-count"))
    view.focus()
    view.press(key)
    view.page.wait_for_function("n => +document.querySelector('.sernb-view').dataset.count > n", arg=before)
    return view.locator(".sernb-title").first.inner_text()


@pytest.mark.lab
def test_browse_by_keyboard_filter_alter_and_compare(desk):
    page, view = desk.page, desk.page.locator(".sernb-view").first
    lab.to(page, view)
    first = view.locator(".sernb-title").inner_text()
    titles = [press(view, "ArrowRight") for _ in range(4)]
    assert len({first, *titles}) == 5
    assert press(view, "ArrowLeft") == titles[-2]
    page.get_by_label("emotion", exact=True).first.select_option("sad")
    expect(view.locator(".sernb-title")).to_contain_text("sad, speaker")
    view.focus()
    view.press(" ")
    page.wait_for_function("parseFloat(document.querySelector('.sernb-head').style.left) > 20")
    view.press(" ")
    page.get_by_role("button", name="altered").click()
    expect(view.locator(".sernb-title").nth(1)).to_contain_text("nothing yet")
    page.get_by_role("slider").nth(1).focus()
    page.keyboard.press("ArrowRight")
    expect(view.locator(".sernb-title").nth(1)).to_contain_text("pitch (semitones) 0.5")
    page.get_by_role("button", name="Pin this clip").click()
    pinned = view.locator(".sernb-title").first.inner_text()
    expect(view.locator(".sernb-title").nth(1)).to_have_text(pinned)
    assert press(view, "n") != pinned
    expect(view.locator(".sernb-title").nth(1)).to_have_text(pinned)
    assert view.locator("audio").count() == view.locator("img").count() == 2


def take(desk, seconds: float) -> None:
    microphone = desk.page.locator(".sernb-mic")
    microphone.get_by_role("button", name=re.compile("Record|Retake")).click()
    desk.page.locator(".sernb-mic[data-state=recording]").wait_for()
    desk.page.wait_for_timeout(1000 * seconds)
    microphone.get_by_role("button", name="Stop").click()
    microphone.get_by_role("button", name="Keep").wait_for()


def similarity(file: Path, played: Path) -> float:
    """Return how similar a recording is to the played file.

    It is the median, over the recording's quarter seconds, of the correlation with the most similar part of the file.
    On a busy machine Chromium's microphone sometimes drops a buffer, and the recording as a whole then fits nowhere.
    """
    import librosa
    from scipy.signal import correlate

    recorded, rate = soundfile.read(file)
    source, source_rate = soundfile.read(played)
    source = librosa.resample(source, orig_sr=source_rate, target_sr=rate)
    length = rate // 4
    correlations = []
    for part in librosa.util.frame(recorded, frame_length=length, hop_length=length).T:
        if part.std() > 0.01 * recorded.std():  # not a pause, which correlates with nothing
            start = int(np.abs(correlate(source, part, mode="valid", method="fft")).argmax())
            correlations.append(np.corrcoef(part, source[start : start + length])[0, 1])
    return float(np.median(correlations))


@pytest.mark.lab
def test_a_recorded_clip_equals_the_microphones_signal_and_has_its_row(desk):
    page, microphone = desk.page, desk.page.locator(".sernb-mic")
    lab.to(page, microphone)
    microphone.get_by_role("button", name="Turn the microphone on").click()
    record = microphone.get_by_role("button", name="Record")
    expect(record).to_be_disabled()
    expect(microphone.locator(".sernb-status")).to_contain_text("consent")
    page.get_by_label("The speaker has read this and agrees").check()
    expect(record).to_be_enabled()
    page.get_by_role("textbox", name="Condition").fill("stroke")
    emotion, sentence = microphone.locator(".sernb-prompt").locator("b, span").all_inner_texts()
    take(desk, 0.5)
    take(desk, 3)
    microphone.get_by_role("button", name="Keep").click()
    expect(microphone.locator(".sernb-status")).to_contain_text("Saved as")
    (row,) = corpora.read_manifest(desk.mine).to_dict("records")
    labels = {"emotion": emotion.lower(), "statement": sentence, "speaker": "S01", "condition": "stroke"}
    assert row | labels == row and row["file"] == f"audio/S01/S01_{emotion.lower()}_1.wav" and row["time"]
    info = soundfile.info(desk.mine / row["file"])
    assert info.subtype == "PCM_16" and info.samplerate in (44100, 48000) and info.duration > 2.5
    assert similarity(desk.mine / row["file"], desk.microphone) > 0.95
    assert list(corpora.active_consents(desk.mine)["speaker"]) == ["S01"]
    after = microphone.locator(".sernb-prompt").locator("b, span").all_inner_texts()
    assert after != [emotion, sentence], "the next prompt"


@pytest.mark.lab
def test_a_closed_tab_loses_the_take_in_progress_and_no_more(desk):
    page = desk.page
    before = {path: path.read_bytes() for path in desk.mine.rglob("*.*") if path.is_file() and path.name != ".lock"}
    lab.to(page, page.locator(".sernb-mic"))
    take(desk, 0.5)
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1000)
    page.goto(f"{desk.address}/lab/tree/06_listen.ipynb")  # the kernel goes on, the tab forgets
    page.locator(".sernb-mic").wait_for(state="attached")
    lab.to(page, page.locator(".sernb-mic"))
    expect(page.locator(".sernb-mic").get_by_role("button", name="Turn the microphone on")).to_be_visible()
    now = {path: path.read_bytes() for path in desk.mine.rglob("*.*") if path.is_file() and path.name != ".lock"}
    assert before and now == before


@pytest.mark.lab
def test_import_check_train_and_predict(desk):
    page, panel = desk.page, desk.page.locator(".sernb-table")
    source = page.get_by_placeholder("folder of existing recordings")
    lab.to(page, source)
    source.fill(str(recordings_folder(desk.folder / "recordings")))
    source.press("Enter")
    expect(panel.locator("tbody tr")).to_have_count(25)
    pattern = page.get_by_placeholder("{speaker}_{emotion}_{n}")
    pattern.fill("{speaker} - {emotion} -")
    expect(panel.get_by_text("the pattern does not fit").first).to_be_visible()
    pattern.press_sequentially(" {n}")
    expect(panel.get_by_text("the pattern does not fit")).to_have_count(0)
    expect(panel.locator("tr.bad")).to_contain_text("cannot be decoded")
    panel.locator("tbody tr").first.get_by_label("emotion").select_option("calm")  # corrected by hand
    page.get_by_label("Each of these speakers has agreed").check()
    page.get_by_role("button", name="Write to the corpus").click()
    page.get_by_text("24 clips written to").wait_for()
    expect(page.get_by_text("Rejected: Bob - SAD - 99.wav: cannot be decoded")).to_be_visible()
    table = corpora.load("local", desk.mine)
    imported = table[table["speaker"] != "S01"]
    assert len(imported) == 24 and imported["speaker"].nunique() == 6
    assert imported["emotion"].value_counts().to_dict() == {"sad": 12, "angry": 11, "calm": 1}
    assert not imported["clip"].str.contains("|".join(NAMES)).any()

    check = page.get_by_role("button", name="Check again")
    lab.to(page, check)
    check.click()
    page.get_by_text(re.compile(rf"the {table['speaker'].nunique()} speakers can be split")).wait_for()

    model, epochs = page.get_by_label("Model"), page.get_by_label("Epochs")
    lab.to(page, model)
    expect(epochs).to_be_hidden()  # the discriminant, which is the default for a small corpus, has none
    model.select_option("The paper's network of notebook 03 (minutes)")
    epochs.fill("1")
    epochs.press("Enter")
    page.get_by_role("button", name="Train").click()
    page.get_by_text("its run is in").wait_for(timeout=lab.PATIENCE)
    (run,) = (desk.folder / "out").glob("network-of-mine-*")
    ticked = table[table["emotion"].isin(["angry", "sad"])]  # the others have too few speakers
    assert corpora.corpus_fingerprint(ticked)[:6] in run.name, "another state of the corpus has another network"
    assert (
        results.read_metrics(run)["corpus"]["name"] == "local"
        and results.read_metrics(run)["split"]["leaks"]["speaker"] == 0
    )

    search = page.get_by_role("button", name="Search again")
    lab.to(page, search)
    search.click()
    page.get_by_label("Run", exact=True).select_option(str(run))
    page.get_by_role("button", name="a clip of my corpus").click()
    prediction = page.get_by_text("the highest of").last
    expect(prediction).to_contain_text("audio/S0")
    expect(page.get_by_text("on Local corpus").last).to_be_visible()
    expect(page.locator(".sernb-view").last.locator("img")).to_have_count(1)

    file = desk.mine / table["clip"].iloc[0]
    csv = CliRunner().invoke(cli.app, ["predict", "--csv", str(run), str(file)])
    (row,) = pd.read_csv(io.StringIO(csv.stdout)).to_dict("records")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose a file").click()
    chooser.value.set_files(file)
    expect(prediction).to_contain_text(f"{file.name}: {row['prediction']} ({row[row['prediction']]:.2f})")


@pytest.mark.lab
def test_the_browser_reports_no_error_and_no_request_leaves_the_machine(desk):
    assert desk.errors == []
    assert {address for address in desk.requests if not re.match(r"(blob|data):", address)} == {desk.address}


@pytest.mark.lab
def test_no_recording_is_saved_in_the_notebooks_file(desk):
    page = desk.page
    page.keyboard.press("Control+s")
    page.wait_for_timeout(1500)
    saved = (desk.folder / "work" / "06_listen.ipynb").read_text()
    players = [nbformat.from_dict(cell) for cell in json.loads(saved)["cells"] if "<audio" in json.dumps(cell)]
    assert len(players) == 2, "the players of the demo corpus, which is nobody's voice"
    assert "application/vnd.jupyter.widget-state+json" not in saved and "RIFF" not in saved


@pytest.fixture
def standalone_views(chromium):
    """Yield a function that opens a widget's JavaScript in several views of one model, without a kernel."""
    browser, _ = chromium
    with lab.served(lab.ROOT / "sernb" / "lab" / "js") as address:
        page = browser.new_page()
        page.set_default_timeout(30_000)

        def open_views(script: str, views: int, **state):
            page.goto(f"{address}/{script}")
            page.evaluate(lab.VIEWS, [script, views, state])
            return page

        yield open_views
        page.close()


MICROPHONE = {
    "ready": True, "why": "", "folder": "mine", "speaker": "S01", "emotion": "sad", "statement": "one", "sex": "",
    "condition": "", "countdown": 0, "max_seconds": 30, "patience": 1,
}  # fmt: skip


def record_take(view, while_recording=lambda: None) -> None:
    view.locator(".sernb-power").click()
    view.locator(".sernb-record").click()
    view.locator(".sernb-mic[data-state=recording]").wait_for()
    view.page.wait_for_timeout(300)
    while_recording()
    view.get_by_role("button", name="Stop").click()
    view.get_by_role("button", name="Keep").wait_for()


@pytest.mark.lab
def test_an_answer_to_another_tabs_take_leaves_this_tabs_take(standalone_views):
    page = standalone_views("microphone.js", 2, **MICROPHONE)
    one, two = page.locator("#view0"), page.locator("#view1")
    record_take(one)
    record_take(two)
    for view in (one, two):
        view.get_by_role("button", name="Keep").click()
    first, second = page.evaluate("model.sent.map(part => part.take)")
    assert first != second
    page.evaluate("take => model.deliver({ kind: 'saved', take, text: 'Saved as a.wav.' })", first)
    expect(one.locator(".sernb-status")).to_have_text("Saved as a.wav.")
    expect(one.locator(".sernb-mic")).to_have_attribute("data-state", "ready")
    expect(two.locator(".sernb-mic")).to_have_attribute("data-state", "sending")
    expect(two.locator(".sernb-take")).to_have_attribute("src", re.compile("blob:"))


@pytest.mark.lab
def test_a_take_keeps_the_labels_that_were_shown_when_it_was_recorded(standalone_views):
    page = standalone_views("microphone.js", 1, **MICROPHONE)
    view, prompt = page.locator("#view0"), page.locator(".sernb-prompt")

    def change(**values) -> None:  # as another tab of the same kernel does
        page.evaluate("values => model.put(values)", values)

    record_take(view, lambda: change(emotion="angry", statement="two", condition="stroke"))
    change(speaker="S02", ready=False, why="The speaker must first read the consent line above.")
    expect(prompt).to_have_text("S01sadone")
    view.get_by_role("button", name="Keep").click()
    expect(prompt).to_have_text("S01sadone")
    labels = {name: MICROPHONE[name] for name in ("folder", "speaker", "emotion", "statement", "sex", "condition")}
    assert page.evaluate("model.sent[0].labels") == labels
    page.evaluate("model.deliver({ kind: 'saved', take: model.sent[0].take, text: 'Saved.' })")
    expect(prompt).to_have_text("S02angrytwo")


@pytest.mark.lab
def test_without_an_answer_the_take_can_be_sent_again(standalone_views):
    page = standalone_views("microphone.js", 1, **MICROPHONE)
    view, keep = page.locator("#view0"), page.get_by_role("button", name="Keep")
    record_take(view)
    keep.click()
    expect(keep).to_be_disabled()
    expect(view.locator(".sernb-status")).to_contain_text("does not answer")
    expect(keep).to_be_enabled()
    keep.click()
    first, second = page.evaluate("model.sent.map(part => part.take)")
    assert first == second
    for _ in range(2):
        page.evaluate("take => model.deliver({ kind: 'saved', take, text: 'Saved.' })", first)
    expect(view.locator(".sernb-status")).to_have_text("Saved.")
    expect(keep).to_be_hidden()


def rows(*speakers: str, **cells) -> list[dict]:
    return [{"file": f"{i}.wav", "speaker": s, "note": "", "mark": "", **cells} for i, s in enumerate(speakers)]


@pytest.mark.lab
def test_an_edited_table_keeps_the_focus_and_the_text_being_typed(standalone_views):
    columns = [{"name": "file"}, {"name": "speaker", "editable": True}, {"name": "note"}]
    page = standalone_views("table.js", 1, columns=columns, rows=rows("a", "b", "c"))
    fields = page.get_by_label("speaker")
    fields.nth(0).fill("S01")
    page.keyboard.press("Tab")
    assert page.evaluate("model.sent") == [{"kind": "edit", "index": 0, "column": "speaker", "value": "S01"}]
    page.keyboard.type("S0")
    page.evaluate("rows => model.put({ rows })", rows("S01", "b", "c", note="checked"))
    expect(fields.nth(1)).to_be_focused()
    page.keyboard.type("2")
    expect(fields.nth(1)).to_have_value("S02")
    expect(page.get_by_text("checked")).to_have_count(3)
    wider = [*columns, {"name": "sex", "editable": True, "choices": ["", "female"]}]
    page.evaluate("([columns, rows]) => model.put({ columns, rows })", [wider, rows("S01", "b", "c", sex="female")])
    expect(fields.nth(1)).to_be_focused()
    expect(fields.nth(1)).to_have_value("S02")
    expect(page.get_by_label("sex").nth(2)).to_have_value("female")
    page.keyboard.press("Tab")
    assert page.evaluate("model.sent.at(-1)") == {"kind": "edit", "index": 1, "column": "speaker", "value": "S02"}
    assert page.evaluate("model.sent.length") == 2, "what was half typed was not sent"
    locked = rows("S01", "S02", "c", sex="female", locked=True)
    page.evaluate("rows => model.put({ rows })", locked)
    expect(fields).to_have_count(0)
    expect(page.locator("tbody tr").nth(1)).to_contain_text("S02")


@pytest.mark.report
def test_a_book_withholds_a_private_corpus_with_one_calm_clip_and_an_unusable_one(page_run, tmp_path):
    mine = tmp_path / "clinic-7"
    source = corpora.load("demo-local", emotions=["angry", "sad", "calm"])
    source = pd.concat([source.query("emotion != 'calm'").head(24), source.query("emotion == 'calm'").head(1)])
    free = {"condition": "aphasia", "statement": "my name is Zoltan", "sex": "female"}
    for i, row in enumerate(source.to_dict("records")):
        corpora.store_consent(mine, f"XQ{i % 4:02}")
        signal, rate = soundfile.read(row["path"])
        corpora.save_take(mine, signal, rate, speaker=f"XQ{i % 4:02}", emotion=row["emotion"], **free)
    clip = next((mine / "audio").rglob("XQ01_*.wav"))
    clip.write_text("no audio")
    parameters = {"CORPUS": "local", "DATA_DIR": str(mine)}
    chapters = [
        {"name": "one", "notebook": "notebooks/01_explore.ipynb", "title": "One", "parameters": parameters},
        {
            "name": "six", "notebook": "notebooks/06_listen.ipynb", "title": "Six",
            "parameters": parameters | {"RUN_DIR": str(page_run / "model"), "RECORD_DIR": str(mine)},
        },
    ]  # fmt: skip
    (tmp_path / "mine.yml").write_text(json.dumps({"parts": [{"caption": "Mine", "chapters": chapters}]}))
    shutil.copy(lab.ROOT / "_config.yml", tmp_path)
    shutil.copytree(lab.ROOT / "notebooks", tmp_path / "notebooks")
    shutil.copytree(lab.ROOT / "book" / "_static", tmp_path / "_static")
    html = report.build_report(tmp_path / "mine.yml", tmp_path / "_build").parent
    for name in ("one", "six"):
        page = (html / f"{name}.html").read_text()
        assert "1 of 25 clips cannot be used" in page
        assert "withheld from this page" in page and "<audio" not in page.replace("&lt;audio", "")
        assert not re.search(r"XQ\d\d|clinic-7|aphasia|Zoltan", page)
        assert not re.search('<img[^>]*alt="[^"]*(one clip|three clips)', page), "a picture of a single voice"
    assert not [file for file in html.rglob("*") if file.suffix in (".wav", ".mp3", ".ogg")]
