"""Bring recordings into a local corpus in JupyterLab, and check it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as w
import pandas as pd

from sernb import corpora
from sernb.lab.widgets import AUTO_LAYOUT
from sernb.lab.widgets import LABEL_STYLE
from sernb.lab.widgets import WIDE_LAYOUT
from sernb.lab.widgets import EditTable
from sernb.lab.widgets import folder_field
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors


def import_folder(root: str | Path, folder: str | Path = "") -> w.Widget:
    """Bring in a folder of recordings: labels guessed from names by a pattern, corrected by hand, then written.

    Args:
        root: The local corpus to write to.
        folder: Where the recordings lie; to be typed if empty.
    """
    ui = _controls(root, folder)
    ui.listed, ui.edits, ui.names, ui.brought = pd.DataFrame(), {}, {}, {}
    ui.folder.observe(report_errors(ui, _list_files), "value")
    for control in (ui.pattern, ui.codes, ui.anonymous, ui.agreed, ui.root):
        control.observe(report_errors(ui, _guess_pattern), "value")
    ui.table.on_msg(lambda _, message, __: _apply_edit(ui, message))
    ui.write.on_click(report_errors(ui, _import))
    report_errors(ui, _list_files)()
    return w.VBox(
        [ui.folder, w.HBox([ui.pattern, ui.codes]), ui.table, ui.said, ui.root, ui.anonymous, ui.agreed, ui.write]
    )


def _controls(root: str | Path, folder: str | Path) -> SimpleNamespace:
    style, layout = LABEL_STYLE, WIDE_LAYOUT
    half = w.Layout(width="31em")
    return SimpleNamespace(
        folder=folder_field(folder, "Recordings", placeholder="folder of existing recordings"),
        pattern=w.Text("", description="Pattern", placeholder="{speaker}_{emotion}_{n}", style=style, layout=half),
        codes=w.Text("", description="Codes", placeholder="W=angry, T=sad", style=style, layout=half),
        table=EditTable(),
        said=w.HTML(),
        root=folder_field(root),
        anonymous=w.Checkbox(True, description="Pseudonyms in place of what may be names", indent=False, layout=layout),
        agreed=w.Checkbox(description="Each of these speakers has agreed to this use of the recordings", indent=False,
                          layout=layout),
        write=w.Button(description="Write to the corpus", icon="save", disabled=True, layout=AUTO_LAYOUT),
    )  # fmt: skip


def _list_files(ui: SimpleNamespace) -> None:
    if not ui.folder.value.strip():
        ui.said.value = message_html("Type the folder of the recordings, then Enter.")
        return
    # In another folder another person may have the same name.
    ui.listed, ui.edits, ui.brought = corpora.list_recordings(ui.folder.value.strip()), {}, {}
    suggested = corpora.suggest_pattern(list(ui.listed["file"]))
    if ui.pattern.value == suggested:
        _guess_pattern(ui)
    else:
        ui.pattern.value = suggested


def _apply_edit(ui: SimpleNamespace, message: dict[str, Any]) -> None:
    ui.edits[ui.listed["file"].iloc[message["index"]], message["column"]] = message["value"].strip()
    report_errors(ui, _guess_pattern)()


def labelled_table(ui: SimpleNamespace) -> pd.DataFrame:
    """The listing with labels: guessed, then pseudonyms, then what was corrected by hand.

    Its column `joins` says whether the speaker may be one of the corpus: typed so by hand, or written from here before.
    """
    labels = corpora.parse_names(list(ui.listed["file"]), ui.pattern.value, corpora.parse_codes(ui.codes.value))
    usable = set(labels["speaker"][(ui.listed["problem"] == "") & (labels["speaker"] != "")])
    before = ui.brought.get(corpus_root(ui), {})
    ui.names = _show_names(ui, usable - set(before)) | before
    called = labels["speaker"]
    labels["speaker"] = called.map(lambda name: ui.names.get(name, name))
    found = ui.listed.join(labels).assign(joins=called.isin(before))
    for (file, column), value in ui.edits.items():
        found.loc[found["file"] == file, [column, "note"]] = value, ""
        found.loc[found["file"] == file, "joins"] |= column == "speaker"
    return found


def _show_names(ui: SimpleNamespace, speakers: set[str]) -> dict[str, str]:
    return (
        corpora.assign_pseudonyms(speakers, corpus_root(ui))
        if ui.anonymous.value
        else {name: name for name in speakers}
    )


def corpus_root(ui: SimpleNamespace) -> str:
    return ui.root.value.strip()


def _guess_pattern(ui: SimpleNamespace) -> None:
    ui.write.disabled = True
    if ui.listed.empty:
        return
    found = labelled_table(ui)
    found["whose"] = _speaker_problems(found, corpus_root(ui))
    _show_labels(ui, found)
    usable = (found["problem"] == "") & ~found["whose"].str.startswith("has ")
    unknown = int((usable & (found["emotion"] == "unknown")).sum())
    speakers = found.loc[usable, "speaker"].nunique()
    hint = f", {unknown} of them of unknown emotion" if unknown else ""
    renamed = ", ".join(f"{name} is {new}" for name, new in ui.names.items() if name != new)
    ui.said.value = message_html(
        f"{usable.sum()} of {len(found)} files can be taken in{hint}; {speakers} speakers. "
        + (f"{renamed}: the corpus does not keep who is who." if renamed else "")
    )
    ui.write.disabled = not (usable.any() and ui.agreed.value)


def _speaker_problems(found: pd.DataFrame, root: str) -> list[str]:
    """For each row, why its speaker may not be taken in (`has ...`), or whom of the corpus it joins, or nothing."""
    taken, withdrawn = corpora.used_speaker_ids(root), corpora.withdrawn_speakers(root)
    joined = {speaker: f"joins {speaker} of the corpus" for speaker in taken}
    rows = found.to_dict("records")
    return [corpora.speaker_problem(row, taken, withdrawn) or joined.get(row["speaker"], "") for row in rows]


def _show_labels(ui: SimpleNamespace, found: pd.DataFrame) -> None:
    given = [name for name in corpora.PATTERN_FIELDS if name in ("speaker", "emotion") or (found[name] != "").any()]
    choices = {"emotion": list(corpora.EMOTIONS)}
    columns = [{"name": name, "editable": True, "choices": choices.get(name)} for name in given]
    ui.table.columns = [{"name": "file"}, *columns, {"name": "note"}]
    ui.table.rows = [_label_row(row, given) for row in found.to_dict("records")]


def _label_row(row: dict[str, Any], given: list[str]) -> dict[str, Any]:
    told, kept = {name: row[name] for name in ("file", *given)}, row.get("kept", "")
    if kept or row["problem"]:
        note, mark = (f"kept as {kept}", "kept") if kept else (row["problem"], "bad")
        return {**told, "note": note, "mark": mark, "locked": not row.get("again", False)}
    note = "; ".join(part for part in (row["note"], row.get("whose", "")) if part)
    return {**told, "note": note, "mark": "doubt" if note else "", "locked": False}


def _import(ui: SimpleNamespace) -> None:
    done = corpora.import_recordings(labelled_table(ui), corpus_root(ui))
    kept = done["kept"] != ""
    there = kept | done["problem"].str.startswith("is in the corpus already")
    # What the import alone rejected can be corrected and written again, under the names given now.
    done["again"] = ~there & (ui.listed["problem"] == "")
    ui.listed["problem"] = ui.listed["problem"].mask(there, "is in the corpus already")
    written = set(done.loc[kept & ~done["joins"], "speaker"])
    names = {name: new for name, new in ui.names.items() if new in written}
    ui.brought[corpus_root(ui)] = ui.brought.get(corpus_root(ui), {}) | names
    rejected = [f"{row.file}: {row.problem}" for row in done[~kept].itertuples()]
    _show_labels(ui, done)
    said = f"{kept.sum()} clips written to {ui.root.value}. "
    ui.said.value = message_html(said) + message_html(f"Rejected: {'; '.join(rejected)}" if rejected else "", bad=True)
    ui.write.disabled = not done["again"].any()
