"""Panels for JupyterLab. Each wraps helpers that the notebook also calls, so that its page is not dead.

What a panel shows lives in the browser and in the kernel: JupyterLab writes none of it into the notebook's file.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anywidget
import ipywidgets as w
import numpy as np
import pandas as pd
import traitlets

from sernb import audio
from sernb import corpora
from sernb import display
from sernb import utils

JS_DIR = Path(__file__).parent / "js"
AUTO_LAYOUT, WIDE_LAYOUT = w.Layout(width="auto"), w.Layout(width="63em")
LABEL_STYLE = {"description_width": "6.5em"}


def show_or_describe(panel: Callable[..., w.Widget], *args: Any, **options: Any) -> Any:
    """The panel where somebody can use it; on a page, or in a run without a user, a note that says what it does."""
    if not utils.is_headless():
        return panel(*args, **options)
    from IPython.display import Markdown

    purpose = (panel.__doc__ or "").strip().split("\n")[0]
    return Markdown(f"> **In JupyterLab a panel stands here.** {purpose}")


class ClipView(anywidget.AnyWidget):
    """Clips beside one another, each a player and a picture with a line at the moment that is heard."""

    _esm = JS_DIR / "viewer.js"
    _css = JS_DIR / "panels.css"
    clips = traitlets.List([]).tag(sync=True)
    count = traitlets.Int(0).tag(sync=True)

    def show(self, *clips: dict[str, Any]) -> None:
        """Show other clips (see `voice` and `course`), in one message."""
        with self.hold_sync():
            self.count += 1
            self.clips = list(clips)


class EditTable(anywidget.AnyWidget):
    """A table to be corrected by hand; a row may carry `mark` (a CSS class) and `locked`."""

    _esm = JS_DIR / "table.js"
    _css = JS_DIR / "panels.css"
    columns = traitlets.List([]).tag(sync=True)
    rows = traitlets.List([]).tag(sync=True)


def html_table(frame: pd.DataFrame, *, digits: int = 2) -> str:
    """A table as JupyterLab would show it, for a panel."""
    text = frame.round(digits).to_html(border=0)
    return f'<div class="jp-RenderedHTMLCommon" style="width: fit-content">{text}</div>'


def folder_field(path: str | Path, description: str = "Corpus", **options: Any) -> w.Text:
    """A field for a folder, shown whole, that reacts when Enter is pressed."""
    shown = str(Path(path).expanduser().absolute()) if str(path) else ""
    return w.Text(
        shown, description=description, continuous_update=False, style=LABEL_STYLE, layout=WIDE_LAYOUT, **options
    )


def message_html(text: str, *, bad: bool = False) -> str:
    """A line of a panel."""
    return (
        f'<span style="color: var(--jp-error-color1, #b3261e)">{html.escape(text)}</span>' if bad else html.escape(text)
    )


def report_errors(ui: SimpleNamespace, act: Callable[[SimpleNamespace], None]) -> Callable[..., None]:
    """A callback that says in `ui.said` what went wrong: a panel's errors would otherwise end in a log."""

    def call(*_: Any) -> None:
        try:
            act(ui)
        except Exception as error:
            ui.said.value = message_html(f"{error}", bad=True)

    return call


# a clip in a view


@functools.lru_cache(maxsize=64)
def _load_cached(path: str, stamp: int, sample_rate: int) -> np.ndarray:
    return audio.load(path, sample_rate)


def load_cached(path: str, sample_rate: int) -> np.ndarray:
    """A clip's samples; the last 64 are remembered until their files change."""
    return _load_cached(path, Path(path).stat().st_mtime_ns, sample_rate)


def overview_item(signal: np.ndarray, sample_rate: int, title: str, emotion: str = "unknown") -> dict[str, Any]:
    """A clip for `ClipView`, with `display.clip_overview` as its picture."""
    picture = _overview_picture(signal.tobytes(), sample_rate, emotion)
    return _view_item(signal, sample_rate, title, "waveform, mel spectrogram, MFCC and pitch", picture)


@functools.lru_cache(maxsize=64)
def _overview_picture(samples: bytes, sample_rate: int, emotion: str) -> bytes:
    return display.encode_png(display.clip_overview(np.frombuffer(samples, np.float32), sample_rate, emotion))


def windows_item(signal: np.ndarray, sample_rate: int, title: str, found: pd.DataFrame) -> dict[str, Any]:
    """A clip for `ClipView`, with `display.probabilities_over_time` as its picture."""
    picture = display.encode_png(display.probabilities_over_time(found, signal, sample_rate))
    return _view_item(signal, sample_rate, title, "probabilities from moment to moment", picture)


def clip_title(row: pd.Series) -> str:
    """A clip's emotion, speaker and name, and what else its corpus tells."""
    told = [row[name] for name in ("intensity", "channel", "sex", "condition") if row[name]]
    return f"{row['emotion']}, speaker {row['speaker']} ({', '.join([*told, row['clip'].rsplit('/', 1)[-1]])})"


def _view_item(signal: np.ndarray, sample_rate: int, title: str, alt: str, picture: bytes) -> dict[str, Any]:
    left, right = display.TIME_AXIS_SPAN
    span = {"left": left, "right": right, "seconds": len(signal) / sample_rate}
    return {"title": title, "alt": alt, "wav": corpora.encode_wav(signal, sample_rate), "png": picture, **span}
