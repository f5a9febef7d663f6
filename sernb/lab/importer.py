"""The panel that imports recordings into a local corpus."""

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
    """Import a folder of recordings: labels are read from file names by a pattern, corrected by hand, then written.

    Args:
        root: The local corpus to write to.
        folder: The folder of the recordings; to be typed if empty.
    """
    ui = _controls(root, folder)
    ui.listed, ui.edits, ui.pseudonyms, ui.written = pd.DataFrame(), {}, {}, {}
    ui.folder.observe(report_errors(ui, _list_files), "value")
    for control in (ui.pattern, ui.codes, ui.anonymous, ui.recognise, ui.agreed, ui.root):
        control.observe(report_errors(ui, _show_labels), "value")
    ui.table.on_msg(lambda _, message, __: report_errors(ui, lambda ui: _apply_edit(ui, message))())
    ui.write.on_click(report_errors(ui, _import))
    report_errors(ui, _list_files)()
    settings = [ui.root, ui.anonymous, ui.recognise, ui.agreed, w.HBox([ui.write, ui.why])]
    return w.VBox([ui.folder, w.HBox([ui.pattern, ui.codes]), ui.table, ui.message, *settings])


def _controls(root: str | Path, folder: str | Path) -> SimpleNamespace:
    half = {"style": LABEL_STYLE, "layout": w.Layout(width="31em")}
    tick = {"indent": False, "layout": WIDE_LAYOUT}
    return SimpleNamespace(
        folder=folder_field(folder, "Recordings", placeholder="folder of existing recordings"),
        pattern=w.Text("", description="Pattern", placeholder="{speaker}_{emotion}_{n}", **half),
        codes=w.Text("", description="Codes", placeholder="W=angry, T=sad", **half),
        table=EditTable(),
        message=w.HTML(),
        root=folder_field(root),
        anonymous=w.Checkbox(True, description="Replace what may be names by pseudonyms", **tick),
        recognise=w.Checkbox(True, description="Recognise the speakers of earlier imports (the corpus keeps "
                             f"{corpora.IDENTITIES}, private, without names)", **tick),
        agreed=w.Checkbox(description="Each of these speakers has agreed to this use of the recordings", **tick),
        write=w.Button(description="Write to the corpus", icon="save", disabled=True, layout=AUTO_LAYOUT),
        why=w.HTML(),  # the button is disabled
    )  # fmt: skip


def _list_files(ui: SimpleNamespace) -> None:
    ui.agreed.value = False  # other recordings, other people
    _enable_write(ui, "Not yet: type the folder of the recordings first.")
    if not ui.folder.value.strip():
        ui.message.value = message_html("Type the folder of the recordings, then press Enter.")
        return
    # In another folder another person may have the same name.
    ui.listed, ui.edits, ui.written = corpora.list_recordings(ui.folder.value.strip()), {}, {}
    suggested = corpora.suggest_pattern(list(ui.listed["file"]))
    if ui.pattern.value == suggested:
        _show_labels(ui)
    else:
        ui.pattern.value = suggested


def _apply_edit(ui: SimpleNamespace, message: dict[str, Any]) -> None:
    ui.edits[ui.listed["file"].iloc[message["index"]], message["column"]] = message["value"].strip()
    _show_labels(ui)


def _root(ui: SimpleNamespace) -> str:
    return ui.root.value.strip()


def _labelled_table(ui: SimpleNamespace) -> pd.DataFrame:
    """Return the listing with labels: read from names, then pseudonyms, then what was corrected by hand.

    Column `name` is the speaker as the file names have it; `joins` says that the speaker may be one of the corpus:
    typed by hand, written from this panel before, or remembered from an earlier import.
    """
    labels = corpora.parse_names(list(ui.listed["file"]), ui.pattern.value, corpora.parse_codes(ui.codes.value))
    names = labels["speaker"].copy()
    usable = set(names[(ui.listed["problem"] == "") & (names != "")])
    same = _earlier_pseudonyms(ui, usable)
    ui.pseudonyms = _assign_pseudonyms(ui, usable, same)
    labels["speaker"] = names.map(lambda name: ui.pseudonyms.get(name, name))
    table = ui.listed.join(labels).assign(name=names, joins=names.isin(same))
    for (file, column), value in ui.edits.items():
        table.loc[table["file"] == file, [column, "note"]] = value, ""
        table.loc[table["file"] == file, "joins"] |= column == "speaker"
    return table


def _earlier_pseudonyms(ui: SimpleNamespace, names: set[str]) -> dict[str, str]:
    remembered = corpora.known_speakers(_root(ui), names)
    if not ui.recognise.value:  # who withdrew is recognised all the same
        withdrawn = corpora.withdrawn_speakers(_root(ui))
        remembered = {name: speaker for name, speaker in remembered.items() if speaker in withdrawn}
    return remembered | ui.written.get(_root(ui), {})


def _assign_pseudonyms(ui: SimpleNamespace, names: set[str], same: dict[str, str]) -> dict[str, str]:
    if ui.anonymous.value:
        return corpora.assign_pseudonyms(sorted(names), _root(ui), remembered=same)
    return {name: name for name in names} | same


def _show_labels(ui: SimpleNamespace) -> None:
    """Show the labels as they are now, and what can be imported."""
    if ui.listed.empty:
        return
    _enable_write(ui, "Not yet: the labels cannot be read, see above.")
    table = _labelled_table(ui)
    table["about_speaker"] = _speaker_notes(ui, table)
    _fill_table(ui, table)
    usable = (table["problem"] == "") & ~table["about_speaker"].str.startswith("has ")
    unknown = int((usable & (table["emotion"] == "unknown")).sum())
    speakers = table.loc[usable, "speaker"]
    hint = f", {unknown} of them with an unknown emotion" if unknown else ""
    renamed = ", ".join(f"{name} is {new}" for name, new in ui.pseudonyms.items() if name != new)
    ui.message.value = message_html(
        f"{usable.sum()} of {len(table)} files can be imported{hint}; {speakers.nunique()} speakers. "
        + (f"{renamed}. " if renamed else "")
        + ("" if ui.pattern.value.strip() else "No usual pattern fits these names: type one. ")
    ) + message_html(corpora.speaker_warning(list(speakers)), bad=True)
    if not usable.any():
        _enable_write(ui, "Not yet: no file can be imported, see the notes in the table.")
    else:
        _enable_write(ui, "" if ui.agreed.value else "Not yet: tick the line above if the speakers have agreed.")


def _enable_write(ui: SimpleNamespace, problem: str) -> None:
    """Enable the button that writes to the corpus, or show beside it why it is disabled."""
    ui.write.disabled = bool(problem)
    ui.why.value = message_html(problem)


def _speaker_notes(ui: SimpleNamespace, table: pd.DataFrame) -> list[str]:
    """Return for each row why its speaker cannot be imported (`has ...`), whom it joins, or whom it resembles."""
    used, withdrawn = corpora.used_speaker_ids(_root(ui)), corpora.withdrawn_speakers(_root(ui))
    names = sorted({*used, *table["name"]} - {""})
    groups = corpora.similar_speakers(pd.DataFrame({"speaker": names}))
    similar = {name: other for group in groups for name in group for other in group if other != name}
    similar |= {name: name for name in used}

    def resemblance(row: dict[str, Any]) -> str:
        """Return what is to be said about a speaker who resembles another one."""
        if row["speaker"] in used:
            return f"joins {row['speaker']} of the corpus"
        if row["joins"] or not (other := similar.get(row["name"])):
            return ""
        return f"the same person as {other}? then type {other if other in used else ui.pseudonyms.get(other, other)}"

    return [corpora.speaker_problem(row, used, withdrawn) or resemblance(row) for row in table.to_dict("records")]


def _fill_table(ui: SimpleNamespace, table: pd.DataFrame) -> None:
    fields = [name for name in corpora.PATTERN_FIELDS if name in ("speaker", "emotion") or (table[name] != "").any()]
    choices = {"emotion": list(dict.fromkeys([*corpora.EMOTIONS, *sorted(set(table["emotion"]))]))}
    columns = [{"name": name, "editable": True, "choices": choices.get(name)} for name in fields]
    ui.table.columns = [{"name": "file"}, *columns, {"name": "note"}]
    ui.table.rows = [_label_row(row, fields) for row in table.to_dict("records")]


def _label_row(row: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    cells, path = {name: row[name] for name in ("file", *fields)}, row.get("kept", "")
    if path or row["problem"]:
        note, mark = (f"written as {path}", "written") if path else (row["problem"], "bad")
        return {**cells, "note": note, "mark": mark, "locked": not row.get("can_retry", False)}
    note = "; ".join(part for part in (row["note"], row.get("about_speaker", "")) if part)
    joins = not row["note"] and note.startswith("joins ")
    return {**cells, "note": note, "mark": "joined" if joins else "doubt" if note else "", "locked": False}


def _import(ui: SimpleNamespace) -> None:
    results = corpora.import_recordings(_labelled_table(ui), _root(ui))
    is_written = results["kept"] != ""
    present = is_written | results["problem"].str.startswith("is in the corpus already")
    # A row that only the import rejected can be corrected and written again, under the same pseudonym.
    results["can_retry"] = ~present & (ui.listed["problem"] == "")
    ui.listed["problem"] = ui.listed["problem"].mask(present, "is in the corpus already")
    _remember_written(ui, results)
    rejected = [f"{row.file}: {row.problem}" for row in results[~is_written].itertuples()]
    ui.agreed.value = False  # the tick was for these people
    ui.message.value = message_html(f"{is_written.sum()} clips written to {ui.root.value}. ") + message_html(
        f"Rejected: {'; '.join(rejected)}" if rejected else "", bad=True
    )
    _fill_table(ui, results)
    retry = "Not yet: correct the rejected files, then tick the line above again."
    _enable_write(ui, retry if results["can_retry"].any() else "Done. Type another folder to import more.")


def _remember_written(ui: SimpleNamespace, results: pd.DataFrame) -> None:
    """Remember who is who among the imported speakers: in this panel, and in the corpus if the user wants it."""
    pseudonyms = {}
    for name, rows in results[results["name"] != ""].groupby("name"):
        written, proposed = set(rows.loc[rows["kept"] != "", "speaker"]), ui.pseudonyms.get(name)
        if proposed in written:
            pseudonyms[name] = proposed
        elif written and rows["speaker"].nunique() == 1:  # typed by hand for all of the name's recordings
            pseudonyms[name] = written.pop()
    ui.written[_root(ui)] = ui.written.get(_root(ui), {}) | pseudonyms
    if ui.recognise.value and pseudonyms:
        corpora.remember_speakers(_root(ui), pseudonyms)
