"""Audio players, compressed so that a page with many of them stays small."""

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
# Every browser plays MP3; libsndfile encodes it at these rates (Hz).
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def encode_mp3(signal: np.ndarray, sample_rate: int, *, max_seconds: float = PLAYER_SECONDS) -> bytes:
    """Encode a clip as MP3, at about 4 to 7 kB per second.

    Args:
        signal: Samples, shape (n,); a clip beyond full scale is scaled down, never clipped.
        sample_rate: In Hz; a rate that MP3 lacks is resampled to the next higher one (or 48 kHz).
        max_seconds: The clip is cut after this number of seconds.
    """
    import librosa
    import soundfile

    rate = next((r for r in MP3_RATES if r >= sample_rate), MP3_RATES[-1])
    signal = signal[: int(max_seconds * sample_rate)]
    if rate != sample_rate:
        signal = librosa.resample(signal, orig_sr=sample_rate, target_sr=rate)
    peak = float(np.abs(signal).max(initial=0.0))
    buffer = io.BytesIO()
    soundfile.write(buffer, signal / max(peak, 1.0), rate, format="MP3", compression_level=0.5)
    return buffer.getvalue()


def audio_element(signal: np.ndarray, sample_rate: int, label: str, *, max_seconds: float = PLAYER_SECONDS) -> str:
    """Return an `<audio>` element that contains its sound, with `label` as its name for screen readers."""
    data = base64.b64encode(encode_mp3(signal, sample_rate, max_seconds=max_seconds)).decode()
    name = html.escape(label, quote=True)
    return f'<audio controls preload="metadata" aria-label="{name}" src="data:audio/mpeg;base64,{data}"></audio>'


def audio_table(
    rows: Sequence[Mapping[str, str | tuple[np.ndarray, int]]],
    *,
    caption: str = "",
    clips: pd.DataFrame | None = None,
) -> HTML | Widget:
    """Return a table of audio players.

    Args:
        rows: One mapping per row, by column heading: a text, or (signal, sample_rate) for a player, whose name for
            screen readers consists of its heading and the row's first text.
        caption: Text above the table.
        clips: The clip table that the clips come from. If they are private, a page shows `corpora.WITHHELD` instead of
            sound and names, and JupyterLab shows a widget, so that no recording is saved in the notebook's file.
    """
    from IPython.display import HTML
    from ipywidgets import HTML as Live

    if clips is not None and corpora.must_redact(clips):
        rows = [_redact_row(row) for row in rows]
    text = _table_html(rows, caption)
    live = clips is not None and corpora.is_private(clips) and not utils.is_headless()
    return Live(text) if live else HTML(text)


def _redact_row(row: Mapping[str, str | tuple[np.ndarray, int]]) -> dict[str, str]:
    private = {head for head, value in row.items() if isinstance(value, tuple) or head in corpora.PRIVATE_COLUMNS}
    return {head: corpora.WITHHELD if head in private else str(value) for head, value in row.items()}


def _table_html(rows: Sequence[Mapping[str, str | tuple[np.ndarray, int]]], caption: str) -> str:
    heads = list(rows[0]) if rows else ["no clips"]
    body = "".join(f"<tr>{''.join(_cell_html(row, head) for head in heads)}</tr>" for row in rows)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    above = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    # On a phone, a wide table scrolls in its own box, not with the page.
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
