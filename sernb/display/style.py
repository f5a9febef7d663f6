"""The house style of figures: colours, sizes, captions."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Study A's colours; calm, which it lacks, is a teal that keeps clear of neutral's green and sad's blue.
EMOTION_COLOURS = {
    "angry": "#C00808",
    "calm": "#2FA39A",
    "disgust": "#804E2D",
    "fear": "#7D55AA",
    "happy": "#F19C0E",
    "neutral": "#4CB847",
    "sad": "#478FB8",
    "surprise": "#EE00FF",
    "unknown": "#777777",
}
# Blue and orange: told apart by the colour-blind, and by their lines in greyscale.
TRAIN_COLOUR, VALIDATION_COLOUR, CLAIM_COLOUR = "#1B4F72", "#D35400", "#777777"

RC_PARAMS = Path(__file__).with_name("house.mplstyle")
FIGURE_WIDTH = 5.4  # inches of a figure: shrunk to a phone's width its type can still be read
CAPTIONED = "sernb_figure"  # the key of an output's metadata that holds a figure's caption


def use_style() -> None:
    """Set the house style once in a notebook: quiet grid, readable type, sharp pictures, tables with whole texts."""
    import matplotlib.pyplot as plt
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    plt.style.use(RC_PARAMS)
    set_matplotlib_formats("retina")
    pd.set_option("display.max_colwidth", None)


def caption(text: str, *, alt: str = "", figure: Figure | None = None) -> None:
    """Show a figure here, with a caption under it; `report` makes it a numbered figure of the book.

    The text is written by the cell that drew the figure, so it can hold what was measured there.

    Args:
        text: Markdown: what there is to see, in a sentence or two.
        alt: What is drawn, for those who do not see it; if not given, what the cell's metadata say (`mystnb`, `image`).
        figure: The pyplot figure that was drawn last, if not given.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Markdown
    from IPython.display import display

    text, alt = (" ".join(told.split()) for told in (text, alt))
    shown = figure or plt.gcf()
    display(shown, metadata={CAPTIONED: {"caption": text, "alt": alt}})
    display(Markdown(f"*Figure.* {text}"), metadata={CAPTIONED: {}})
    plt.close(shown)


def get_axes(ax: Axes | None, width: float = FIGURE_WIDTH, height: float = 3.2) -> Axes:
    """What was given, or the axes of a new figure of that size in inches."""
    import matplotlib.pyplot as plt

    return ax if ax is not None else plt.subplots(figsize=(width, height), layout="constrained")[1]


def encode_png(figure: Figure, *, dpi: int = 110) -> bytes:
    """A figure as PNG, weakly compressed: it goes no further than the browser of this machine."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def log_scale(ax: Axes) -> Axes:
    """A logarithmic y axis labelled in plain numbers."""
    from matplotlib.ticker import LogLocator
    from matplotlib.ticker import NullFormatter
    from matplotlib.ticker import StrMethodFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    return ax
