"""The panel that checks a local corpus."""

from __future__ import annotations

import html
import warnings
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as w
import pandas as pd

from sernb import corpora
from sernb import evaluation
from sernb.lab.widgets import folder_field
from sernb.lab.widgets import html_table
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors


def check_corpus(root: str | Path) -> w.Widget:
    """Check a local corpus as it is now: counts, levels, clipping, silence, noise, duplicates and missing speakers.

    Args:
        root: The corpus folder.
    """
    ui = SimpleNamespace(
        root=folder_field(root),
        refresh=w.Button(description="Check again", icon="refresh"),
        message=w.HTML(),
    )  # fmt: skip
    ui.refresh.on_click(report_errors(ui, _show_check))
    ui.root.observe(report_errors(ui, _show_check), "value")
    report_errors(ui, _show_check)()
    return w.VBox([ui.root, ui.refresh, ui.message])


def _show_check(ui: SimpleNamespace) -> None:
    root = corpora.corpus_path(ui.root.value)
    if not corpora.has_clips(root):
        ui.message.value = message_html("This corpus has no clips yet: record or import some.")
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", corpora.CorpusWarning)
        table = corpora.load("local", root)
    measured = corpora.measure_clips(table)
    sections = {
        "Clips by speaker and emotion": html_table(corpora.count_by_speaker(table)),
        "Still missing": html_table(evaluation.missing_speakers(table)),
        "Levels": html_table(corpora.level_summary(measured), digits=1),
        "Advice for whole sessions": _table_or_none(corpora.session_advice(measured)),
        "Clips to record again": _table_or_none(measured[measured["advice"] != ""][["clip", "advice"]], "clip"),
        "The same recording with different labels": _table_or_none(
            corpora.conflicting_copies(table).drop(columns="sha256"), "clip"
        ),
        "Speaker IDs that differ little: the same person?": _text_or_none(
            " and ".join(group) for group in corpora.similar_speakers(table)
        ),
        "Files that are not in the manifest": _text_or_none(corpora.unlisted_files(root)),
        "Notes": _text_or_none(str(warning.message) for warning in caught),
    }
    advice = (evaluation.split_readiness(table).replace("**", ""), evaluation.describe_expected_interval(table))
    text = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in advice)
    ui.message.value = text + "".join(f"<h4>{heading}</h4>{body}" for heading, body in sections.items())


def _table_or_none(table: pd.DataFrame, index: str = "") -> str:
    if table.empty:
        return "<p>none</p>"
    return html_table(table.set_index(index) if index else table, digits=1)


def _text_or_none(names: Iterable[str]) -> str:
    return f"<p>{html.escape(', '.join(names)) or 'none'}</p>"
