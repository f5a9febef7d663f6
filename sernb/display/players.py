"""Audio players on a page, compressed so that a page of them stays light."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from sernb import corpora
from sernb import utils

if TYPE_CHECKING:
    from IPython.display import HTML
    from ipywidgets import Widget

PLAYER_SECONDS = 8.0
# MP3 plays in every browser; libsndfile encodes it at these rates.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def encode_mp3(signal: np.ndarray, sample_rate: int, *, max_seconds: float = PLAYER_SECONDS) -> bytes:
    """A clip as MP3, about 6 kB a second, cut at `max_seconds`.

    Args:
        signal: Samples, shape (n,); louder than full scale is turned down, never clipped.
        sample_rate: In Hz; one that MP3 does not know is resampled to the next one above (or 48 kHz).
        max_seconds: Longest player.
    """
    import librosa
    import soundfile

    rate = next((r for r in MP3_RATES if r >= sample_rate), MP3_RATES[-1])
    heard = signal[: int(max_seconds * sample_rate)]
    if rate != sample_rate:
        heard = librosa.resample(heard, orig_sr=sample_rate, target_sr=rate)
    peak = float(np.abs(heard).max(initial=0.0))
    buffer = io.BytesIO()
    soundfile.write(buffer, heard / max(peak, 1.0), rate, format="MP3", compression_level=0.5)
    return buffer.getvalue()


def audio_element(signal: np.ndarray, sample_rate: int, label: str, *, max_seconds: float = PLAYER_SECONDS) -> str:
    """An `<audio>` element that holds its sound itself, named for screen readers by `label`."""
    data = base64.b64encode(encode_mp3(signal, sample_rate, max_seconds=max_seconds)).decode()
    name = html.escape(label, quote=True)
    return f'<audio controls preload="metadata" aria-label="{name}" src="data:audio/mpeg;base64,{data}"></audio>'


def audio_table(
    rows: Sequence[Mapping[str, str | tuple[np.ndarray, int]]],
    *,
    caption: str = "",
    of: pd.DataFrame | None = None,
) -> HTML | Widget:
    """A table of players.

    Args:
        rows: One mapping a row, by column heading: text, or (signal, sample_rate) for a player, which is named for
            screen readers by its heading and the row's first text.
        caption: Above the table.
        of: The clip table whose clips these are; if they are private, a page gets `corpora.WITHHELD` instead of sound
            and names, and JupyterLab a widget, so that no voice comes into the notebook's file.
    """
    from IPython.display import HTML
    from ipywidgets import HTML as Live

    if of is not None and corpora.must_redact(of):
        rows = [_redact_row(row) for row in rows]
    text = _table_html(rows, caption)
    return Live(text) if of is not None and corpora.is_private(of) and not utils.is_headless() else HTML(text)


def _redact_row(row: Mapping[str, str | tuple[np.ndarray, int]]) -> dict[str, str]:
    hidden = {head: isinstance(value, tuple) or head in corpora.PRIVATE_COLUMNS for head, value in row.items()}
    return {head: corpora.WITHHELD if hidden[head] else str(value) for head, value in row.items()}


def _table_html(rows: Sequence[Mapping[str, str | tuple[np.ndarray, int]]], caption: str) -> str:
    heads = list(rows[0])
    body = "".join(f"<tr>{''.join(_cell_html(row, head) for head in heads)}</tr>" for row in rows)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    # A wide table scrolls inside its own box on a phone; the page does not.
    return (
        f'<div class="players" style="overflow-x:auto" tabindex="0"><table>{above}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell_html(row: Mapping[str, str | tuple[np.ndarray, int]], head: str) -> str:
    value = row[head]
    if isinstance(value, tuple):
        name = next((text for text in row.values() if isinstance(text, str)), "")
        return f"<td>{audio_element(*value, f'{head}: {name}')}</td>"
    return f"<td>{html.escape(str(value))}</td>"
