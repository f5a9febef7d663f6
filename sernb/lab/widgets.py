"""Widgets and helpers that the panels share.

Each panel wraps helpers that its notebook also calls, so that the notebook's page shows something without a kernel. The
content of a panel is held by the browser and the kernel: JupyterLab writes none of it into the notebook's file.
"""

from __future__ import annotations

import functools
import html
import traceback
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
ERROR_STYLE = "color: var(--jp-error-color1, #b3261e)"


def show_or_describe(panel: Callable[..., w.Widget], *args: Any, **options: Any) -> Any:
    """Return a panel; on a page, or in a run without a user, return a note that describes the panel."""
    if not utils.is_headless():
        return panel(*args, **options)
    from IPython.display import Markdown

    purpose = (panel.__doc__ or "").strip().split("\n")[0]
    return Markdown(f"> **JupyterLab shows an interactive panel here.** {purpose}")


class ClipView(anywidget.AnyWidget):
    """Clips side by side, each a player and a figure with a line at the moment that is being played."""

    _esm = JS_DIR / "viewer.js"
    _css = JS_DIR / "panels.css"
    clips = traitlets.List([]).tag(sync=True)
    count = traitlets.Int(0).tag(sync=True)

    def show(self, *clips: dict[str, Any]) -> None:
        """Show other clips (see `overview_item` and `windows_item`), in one message."""
        with self.hold_sync():
            self.count += 1
            self.clips = list(clips)


class EditTable(anywidget.AnyWidget):
    """A table to be corrected by hand; a row may have `mark` (a CSS class) and `locked`."""

    _esm = JS_DIR / "table.js"
    _css = JS_DIR / "panels.css"
    columns = traitlets.List([]).tag(sync=True)
    rows = traitlets.List([]).tag(sync=True)


def html_table(frame: pd.DataFrame, *, digits: int = 2) -> str:
    """Return a table as HTML for a panel, in JupyterLab's style; its text is escaped."""
    text = frame.round(digits).to_html(border=0)
    return f'<div class="jp-RenderedHTMLCommon" style="width: fit-content">{text}</div>'


def folder_field(path: str | Path, description: str = "Corpus", **options: Any) -> w.Text:
    """Return a field for a folder, as an absolute path, that reacts when Enter is pressed."""
    value = str(Path(path).expanduser().absolute()) if str(path) else ""
    return w.Text(
        value, description=description, continuous_update=False, style=LABEL_STYLE, layout=WIDE_LAYOUT, **options
    )


def message_html(text: str, *, bad: bool = False) -> str:
    """Return a panel's message as HTML, its text escaped; in red if it is bad news."""
    return f'<span style="{ERROR_STYLE}">{html.escape(text)}</span>' if bad else html.escape(text)


def error_text(error: Exception) -> str:
    """Return an error in one line: sernb's own and the system's in words, any other with its type."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error) if _is_expected(error) else f"{type(error).__name__}: {error}"


def _is_expected(error: Exception) -> bool:
    is_own = type(error).__module__.partition(".")[0] == "sernb"
    return is_own or (isinstance(error, OSError) and bool(error.strerror))


def error_html(error: Exception) -> str:
    """Return an error as HTML for a panel: `error_text`, and for an unexpected error a traceback that folds out."""
    text = message_html(error_text(error), bad=True)
    if _is_expected(error):
        return text
    lines = html.escape("".join(traceback.format_exception(error)))
    hint = "This is an error in sernb or in one of its libraries. Please report it with these lines:"
    return f"<details><summary>{text}</summary>{hint}<pre>{lines}</pre></details>"


def report_errors(ui: SimpleNamespace, act: Callable[[SimpleNamespace], None]) -> Callable[..., None]:
    """Return a callback that shows an error of `act` in `ui.message`; otherwise it would end up in a log."""

    def call(*_: Any) -> None:
        """Call the function and show its error in the panel."""
        try:
            act(ui)
        except Exception as error:
            ui.message.value = error_html(error)

    return call


# a clip in a view


@functools.lru_cache(maxsize=64)
def _load_cached(path: str, modified: int, sample_rate: int) -> np.ndarray:
    return audio.load(path, sample_rate)


def load_cached(path: str, sample_rate: int) -> np.ndarray:
    """Return a clip's samples; the last 64 clips are kept in memory until their files change."""
    return _load_cached(path, Path(path).stat().st_mtime_ns, sample_rate)


def overview_item(signal: np.ndarray, sample_rate: int, title: str, emotion: str = "unknown") -> dict[str, Any]:
    """Return a clip for `ClipView`, with `display.clip_overview` as its figure."""
    figure = _overview_png(signal.tobytes(), sample_rate, emotion)
    return _view_item(signal, sample_rate, title, "waveform, mel spectrogram, MFCC and pitch", figure)


@functools.lru_cache(maxsize=64)
def _overview_png(samples: bytes, sample_rate: int, emotion: str) -> bytes:
    return display.encode_png(display.clip_overview(np.frombuffer(samples, np.float32), sample_rate, emotion))


def windows_item(signal: np.ndarray, sample_rate: int, title: str, probabilities: pd.DataFrame) -> dict[str, Any]:
    """Return a clip for `ClipView`, with `display.probabilities_over_time` as its figure."""
    figure = display.encode_png(display.probabilities_over_time(probabilities, signal, sample_rate))
    return _view_item(signal, sample_rate, title, "probabilities over time", figure)


def clip_title(row: pd.Series) -> str:
    """Return a clip's emotion, speaker and name, and what else its corpus says about it."""
    details = [row[name] for name in ("intensity", "channel", "sex", "condition") if row[name]]
    return f"{row['emotion']}, speaker {row['speaker']} ({', '.join([*details, row['clip'].rsplit('/', 1)[-1]])})"


def _view_item(signal: np.ndarray, sample_rate: int, title: str, alt: str, png: bytes) -> dict[str, Any]:
    left, right = display.TIME_AXIS_SPAN
    span = {"left": left, "right": right, "seconds": len(signal) / sample_rate}
    return {"title": title, "alt": alt, "wav": corpora.encode_wav(signal, sample_rate), "png": png, **span}
