"""Floor 4: bring recordings into a local corpus in JupyterLab, and check it."""

from __future__ import annotations

import html
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as w
import pandas as pd

from sernb import corpora
from sernb import imports
from sernb import local
from sernb import quality
from sernb import widgets
from sernb.widgets import AUTO


def import_folder(root: str | Path, folder: str | Path = "") -> w.Widget:
    """Bring in a folder of recordings: labels guessed from names by a pattern, corrected by hand, then written.

    Args:
        root: The local corpus to write to.
        folder: Where the recordings lie; to be typed if empty.
    """
    ui = _controls(root, folder)
    ui.listed, ui.edits, ui.names, ui.brought = pd.DataFrame(), {}, {}, {}
    ui.folder.observe(widgets.guarded(ui, _list_files), "value")
    for control in (ui.pattern, ui.codes, ui.anonymous, ui.agreed, ui.root):
        control.observe(widgets.guarded(ui, _guess), "value")
    ui.table.on_msg(lambda _, message, __: _edit(ui, message))
    ui.write.on_click(widgets.guarded(ui, _take_in))
    widgets.guarded(ui, _list_files)()
    return w.VBox(
        [ui.folder, w.HBox([ui.pattern, ui.codes]), ui.table, ui.said, ui.root, ui.anonymous, ui.agreed, ui.write]
    )


def _controls(root: str | Path, folder: str | Path) -> SimpleNamespace:
    style, layout = widgets.LABELS, widgets.WIDE
    half = w.Layout(width="31em")
    return SimpleNamespace(
        folder=widgets.folder(folder, "Recordings", placeholder="folder of existing recordings"),
        pattern=w.Text("", description="Pattern", placeholder="{speaker}_{emotion}_{n}", style=style, layout=half),
        codes=w.Text("", description="Codes", placeholder="W=angry, T=sad", style=style, layout=half),
        table=widgets.EditTable(),
        said=w.HTML(),
        root=widgets.folder(root),
        anonymous=w.Checkbox(True, description="Pseudonyms in place of what may be names", indent=False, layout=layout),
        agreed=w.Checkbox(description="Each of these speakers has agreed to this use of the recordings", indent=False,
                          layout=layout),
        write=w.Button(description="Write to the corpus", icon="save", disabled=True, layout=AUTO),
    )  # fmt: skip


def _list_files(ui: SimpleNamespace) -> None:
    if not ui.folder.value.strip():
        ui.said.value = widgets.said("Type the folder of the recordings, then Enter.")
        return
    # In another folder another person may have the same name.
    ui.listed, ui.edits, ui.brought = imports.listing(ui.folder.value.strip()), {}, {}
    suggested = imports.suggest(list(ui.listed["file"]))
    if ui.pattern.value == suggested:
        _guess(ui)
    else:
        ui.pattern.value = suggested


def _edit(ui: SimpleNamespace, message: dict[str, Any]) -> None:
    ui.edits[ui.listed["file"].iloc[message["index"]], message["column"]] = message["value"].strip()
    widgets.guarded(ui, _guess)()


def guessed(ui: SimpleNamespace) -> pd.DataFrame:
    """The listing with labels: guessed, then pseudonyms, then what was corrected by hand.

    Its column `joins` says whether the speaker may be one of the corpus: typed so by hand, or written from here before.
    """
    labels = imports.guess(list(ui.listed["file"]), ui.pattern.value, imports.codes(ui.codes.value))
    usable = set(labels["speaker"][(ui.listed["problem"] == "") & (labels["speaker"] != "")])
    before = ui.brought.get(_root(ui), {})
    ui.names = _names(ui, usable - set(before)) | before
    called = labels["speaker"]
    labels["speaker"] = called.map(lambda name: ui.names.get(name, name))
    found = ui.listed.join(labels).assign(joins=called.isin(before))
    for (file, column), value in ui.edits.items():
        found.loc[found["file"] == file, [column, "note"]] = value, ""
        found.loc[found["file"] == file, "joins"] |= column == "speaker"
    return found


def _names(ui: SimpleNamespace, speakers: set[str]) -> dict[str, str]:
    return imports.pseudonyms(speakers, _root(ui)) if ui.anonymous.value else {name: name for name in speakers}


def _root(ui: SimpleNamespace) -> str:
    return ui.root.value.strip()


def _guess(ui: SimpleNamespace) -> None:
    ui.write.disabled = True
    if ui.listed.empty:
        return
    found = guessed(ui)
    found["whose"] = _whose(found, _root(ui))
    _show_guess(ui, found)
    usable = (found["problem"] == "") & ~found["whose"].str.startswith("has ")
    unknown = int((usable & (found["emotion"] == "unknown")).sum())
    speakers = found.loc[usable, "speaker"].nunique()
    hint = f", {unknown} of them of unknown emotion" if unknown else ""
    renamed = ", ".join(f"{name} is {new}" for name, new in ui.names.items() if name != new)
    ui.said.value = widgets.said(
        f"{usable.sum()} of {len(found)} files can be taken in{hint}; {speakers} speakers. "
        + (f"{renamed}: the corpus does not keep who is who." if renamed else "")
    )
    ui.write.disabled = not (usable.any() and ui.agreed.value)


def _whose(found: pd.DataFrame, root: str) -> list[str]:
    """For each row, why its speaker may not be taken in (`has ...`), or whom of the corpus it joins, or nothing."""
    taken, withdrawn = local.taken(root), local.withdrawn(root)
    joined = {speaker: f"joins {speaker} of the corpus" for speaker in taken}
    rows = found.to_dict("records")
    return [imports.whose(row, taken, withdrawn) or joined.get(row["speaker"], "") for row in rows]


def _show_guess(ui: SimpleNamespace, found: pd.DataFrame) -> None:
    given = [name for name in imports.FIELDS if name in ("speaker", "emotion") or (found[name] != "").any()]
    choices = {"emotion": list(corpora.EMOTIONS)}
    columns = [{"name": name, "editable": True, "choices": choices.get(name)} for name in given]
    ui.table.columns = [{"name": "file"}, *columns, {"name": "note"}]
    ui.table.rows = [_guess_row(row, given) for row in found.to_dict("records")]


def _guess_row(row: dict[str, Any], given: list[str]) -> dict[str, Any]:
    told, kept = {name: row[name] for name in ("file", *given)}, row.get("kept", "")
    if kept or row["problem"]:
        note, mark = (f"kept as {kept}", "kept") if kept else (row["problem"], "bad")
        return {**told, "note": note, "mark": mark, "locked": not row.get("again", False)}
    note = "; ".join(part for part in (row["note"], row.get("whose", "")) if part)
    return {**told, "note": note, "mark": "doubt" if note else "", "locked": False}


def _take_in(ui: SimpleNamespace) -> None:
    done = imports.take_in(guessed(ui), _root(ui))
    kept = done["kept"] != ""
    there = kept | done["problem"].str.startswith("is in the corpus already")
    # What the import alone rejected can be corrected and written again, under the names given now.
    done["again"] = ~there & (ui.listed["problem"] == "")
    ui.listed["problem"] = ui.listed["problem"].mask(there, "is in the corpus already")
    written = set(done.loc[kept & ~done["joins"], "speaker"])
    names = {name: new for name, new in ui.names.items() if new in written}
    ui.brought[_root(ui)] = ui.brought.get(_root(ui), {}) | names
    rejected = [f"{row.file}: {row.problem}" for row in done[~kept].itertuples()]
    _show_guess(ui, done)
    said = f"{kept.sum()} clips written to {ui.root.value}. "
    ui.said.value = widgets.said(said) + widgets.said(f"Rejected: {'; '.join(rejected)}" if rejected else "", bad=True)
    ui.write.disabled = not done["again"].any()


def check(root: str | Path) -> w.Widget:
    """Look at a local corpus as it is now: counts, levels, clipping, silence, noise, and what a speaker split lacks.

    Args:
        root: The corpus's folder.
    """
    ui = SimpleNamespace(
        root=widgets.folder(root),
        look=w.Button(description="Look again", icon="refresh"),
        said=w.HTML(),
    )  # fmt: skip
    ui.look.on_click(widgets.guarded(ui, _check))
    ui.root.observe(widgets.guarded(ui, _check), "value")
    widgets.guarded(ui, _check)()
    return w.VBox([ui.root, ui.look, ui.said])


def _check(ui: SimpleNamespace) -> None:
    root = local.at(_root(ui))
    if not len(local.manifest(root)):
        ui.said.value = widgets.said("No clip is in this corpus yet: record or import some.")
        return
    table = corpora.load("local", root)
    measured = quality.measure(table)
    poor = measured[measured["advice"] != ""][["clip", "advice"]]
    strays = quality.strays(root)
    parts = {
        "": f"<p>{quality.verdict(table).replace('**', '')}</p>",
        "Clips by speaker and emotion": widgets.html_table(quality.counts(table)),
        "Still missing": widgets.html_table(quality.missing(table)),
        "Levels": widgets.html_table(quality.summary(measured), digits=1),
        "Better recorded again": widgets.html_table(poor.set_index("clip")) if len(poor) else "<p>none</p>",
        "Not in the manifest": f"<p>{html.escape(', '.join(strays)) or 'none'}</p>",
    }
    ui.said.value = "".join(f"<h4>{head}</h4>{body}" if head else body for head, body in parts.items())
