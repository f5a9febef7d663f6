"""The panel that checks a local corpus."""

from __future__ import annotations

import html
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as w

from sernb import corpora
from sernb import evaluation
from sernb.lab.importer import corpus_root
from sernb.lab.widgets import folder_field
from sernb.lab.widgets import html_table
from sernb.lab.widgets import message_html
from sernb.lab.widgets import report_errors


def check_corpus(root: str | Path) -> w.Widget:
    """Look at a local corpus as it is now: counts, levels, clipping, silence, noise, and what a speaker split lacks.

    Args:
        root: The corpus's folder.
    """
    ui = SimpleNamespace(
        root=folder_field(root),
        look=w.Button(description="Look again", icon="refresh"),
        said=w.HTML(),
    )  # fmt: skip
    ui.look.on_click(report_errors(ui, _show_check))
    ui.root.observe(report_errors(ui, _show_check), "value")
    report_errors(ui, _show_check)()
    return w.VBox([ui.root, ui.look, ui.said])


def _show_check(ui: SimpleNamespace) -> None:
    root = corpora.corpus_path(corpus_root(ui))
    if not len(corpora.read_manifest(root)):
        ui.said.value = message_html("No clip is in this corpus yet: record or import some.")
        return
    table = corpora.load("local", root)
    measured = corpora.measure_clips(table)
    poor = measured[measured["advice"] != ""][["clip", "advice"]]
    strays = corpora.unlisted_files(root)
    parts = {
        "": f"<p>{evaluation.split_readiness(table).replace('**', '')}</p>",
        "Clips by speaker and emotion": html_table(corpora.count_by_speaker(table)),
        "Still missing": html_table(evaluation.missing_speakers(table)),
        "Levels": html_table(corpora.level_summary(measured), digits=1),
        "Better recorded again": html_table(poor.set_index("clip")) if len(poor) else "<p>none</p>",
        "Not in the manifest": f"<p>{html.escape(', '.join(strays)) or 'none'}</p>",
    }
    ui.said.value = "".join(f"<h4>{head}</h4>{body}" if head else body for head, body in parts.items())
