"""The style of figures: colours, sizes, captions."""

from __future__ import annotations

import functools
import io
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Study A's colours. Of those that it lacks, calm is a teal and bored navy, distinct from the green of neutral and the
# blue of sad.
EMOTION_COLOURS = {
    "angry": "#C00808",
    "bored": "#1B3F73",
    "calm": "#2FA39A",
    "disgust": "#804E2D",
    "fear": "#7D55AA",
    "happy": "#F19C0E",
    "neutral": "#4CB847",
    "sad": "#478FB8",
    "surprise": "#EE00FF",
    "unknown": "#777777",
}
# For the emotions of a local corpus's own, in the order in which they are first drawn.
OWN_COLOURS = ("#8A8D00", "#E377C2", "#00A6D6", "#FF8A73", "#00594F", "#B59F6B", "#6B0F4B", "#A6CE39")
_next_colour = itertools.cycle(OWN_COLOURS)
# Blue and orange: distinct to the colour-blind, and by their line styles in greyscale.
TRAIN_COLOUR, VALIDATION_COLOUR, CLAIM_COLOUR = "#1B4F72", "#D35400", "#777777"

RC_PARAMS = Path(__file__).with_name("house.mplstyle")
FIGURE_WIDTH = 5.4  # inches; scaled down to a phone's width, the text can still be read
CAPTIONED = "sernb_figure"  # the key of a figure's caption in the metadata of an output


def use_style() -> None:
    """Set the style of figures and tables in a notebook: light grid, readable text, sharp images, untruncated cells."""
    import matplotlib.pyplot as plt
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    plt.style.use(RC_PARAMS)
    set_matplotlib_formats("retina")
    pd.set_option("display.max_colwidth", None)


def emotion_colour(emotion: str) -> str:
    """Return the colour of an emotion, the same in all figures; an emotion that has none is assigned one."""
    return EMOTION_COLOURS.get(emotion) or _assign_colour(emotion)


@functools.cache
def _assign_colour(emotion: str) -> str:
    return next(_next_colour)


def caption(text: str, *, alt: str = "", figure: Figure | None = None) -> None:
    """Show a figure with a caption below it; in the book it becomes a numbered figure.

    Args:
        text: The caption, as Markdown: what the figure shows, in a sentence or two. It may contain measured values.
        alt: A description for readers who cannot see the figure; by default that of the cell's metadata
            (`mystnb`, `image`).
        figure: By default pyplot's current figure.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Markdown
    from IPython.display import display

    text, alt = (" ".join(string.split()) for string in (text, alt))
    figure = figure or plt.gcf()
    display(figure, metadata={CAPTIONED: {"caption": text, "alt": alt}})
    display(Markdown(f"*Figure.* {text}"), metadata={CAPTIONED: {}})
    plt.close(figure)


def get_axes(ax: Axes | None, width: float = FIGURE_WIDTH, height: float = 3.2) -> Axes:
    """Return the axes, or those of a new figure of the given size in inches."""
    import matplotlib.pyplot as plt

    return ax if ax is not None else plt.subplots(figsize=(width, height), layout="constrained")[1]


def allow_empty(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that draws data show "no data" where its first argument is empty."""

    @functools.wraps(draw)
    def wrapper(data: Any, *args: Any, **options: Any) -> Axes | Figure:
        """Draw the figure, or one that says that there are no data."""
        if len(data):
            return draw(data, *args, **options)
        ax = get_axes(options.get("ax"))
        ax.text(0.5, 0.5, "no data", ha="center", va="center", transform=ax.transAxes)
        ax.set_axis_off()
        return ax if draw.__annotations__["return"] == "Axes" else ax.figure

    return wrapper


def encode_png(figure: Figure, *, dpi: int = 110) -> bytes:
    """Return a figure as PNG with light compression, since it goes only to the browser of this machine."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, pil_kwargs={"compress_level": 1})
    return buffer.getvalue()


def log_scale(ax: Axes) -> Axes:
    """Make the y axis logarithmic, labelled with plain numbers."""
    from matplotlib.ticker import LogLocator
    from matplotlib.ticker import NullFormatter
    from matplotlib.ticker import StrMethodFormatter

    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    return ax
