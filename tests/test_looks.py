"""Figures look like their reference images.

After an intended change run `python tests/test_looks.py`, and check the images that git shows as changed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.testing.compare import compare_images
from support.audio_files import tone

from sernb import display

LOOKS = Path(__file__).parent / "looks"
# RMS difference of pixels, of 255: 0 with the same versions, 1 for a line of another colour, more for another word.
TOLERANCE = 0.9


def scores(names: list[str], values: list[float]) -> pd.DataFrame:
    columns = {}
    for score in ("accuracy", "uar"):
        columns |= {score: values, f"{score}_low": np.array(values) - 0.05, f"{score}_high": np.array(values) + 0.04}
    return pd.DataFrame(columns, index=names)


def waterfall() -> Figure:
    steps = scores(["as published", "no noisy copies", "unseen speakers"], [0.8, 0.7, 0.5])
    steps["largest_class"] = [0.15, 0.15, 0.13]
    return display.waterfall(steps, claim=0.813, title="What is left").figure


def confusion() -> Figure:
    return display.confusion_heatmap(
        [[7, 2, 1], [0, 9, 1], [4, 4, 2]], ["angry", "calm", "sad"], title="a network"
    ).figure


def curves() -> Figure:
    epoch = np.arange(1, 9)
    rising = {f"{side}_accuracy": 1 - 1 / (epoch + delay) for side, delay in (("train", 1), ("val", 0))}
    return display.training_history(
        pd.DataFrame({"epoch": epoch, **rising, "train_loss": 1 / epoch, "val_loss": 2 / epoch})
    )


def doubt() -> Figure:
    cells = scores(["conv2d-a", "mfcc-svm", "listeners"], [0.52, 0.45, 0.4]).assign(note=["", "", "few"])
    return display.scores_with_intervals(
        cells, chance=1 / 6, others=["mfcc-svm", "listeners"], title="Beside others"
    ).figure


def mel() -> Figure:
    return display.mel_spectrogram(tone(1.0, 16000, 440), 16000, "a tone").figure


def draw(figure: Callable[[], Figure], to: Path) -> Path:
    """Save a figure in the style of the book as a small image, whatever other tests have set."""
    import matplotlib.pyplot as plt

    with plt.rc_context():
        plt.rcdefaults()
        plt.style.use(display.RC_PARAMS)
        drawn = figure()
        drawn.savefig(to, dpi=50, metadata={"Software": None})
        plt.close(drawn)
    return to


FIGURES = (waterfall, confusion, curves, doubt, mel)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__)
def test_a_figure_looks_like_its_reference(tmp_path, figure):
    drawn = draw(figure, tmp_path / f"{figure.__name__}.png")
    assert compare_images(str(LOOKS / drawn.name), str(drawn), tol=TOLERANCE) is None


def test_a_changed_word_is_detected(tmp_path):
    changed = draw(lambda: display.confusion_heatmap([[7, 2], [1, 9]], ["angry", "sad"]).figure, tmp_path / "a.png")
    other = draw(lambda: display.confusion_heatmap([[7, 2], [1, 9]], ["angry", "calm"]).figure, tmp_path / "b.png")
    assert compare_images(str(changed), str(other), tol=TOLERANCE) is not None


@pytest.mark.slow
def test_the_readmes_picture_is_that_of_the_results(tmp_path):
    code = f"import picture; picture.draw_waterfall().savefig('{tmp_path}/now.png', dpi=picture.DPI)"
    book = LOOKS.parents[1] / "book"
    subprocess.run(
        [sys.executable, "-c", code], cwd=book, env={**os.environ, "PYTHONPATH": f"{book.parent}"}, check=True
    )
    assert compare_images(f"{book}/picture.png", f"{tmp_path}/now.png", tol=TOLERANCE) is None


if __name__ == "__main__":
    LOOKS.mkdir(exist_ok=True)
    sys.exit(not all(draw(figure, LOOKS / f"{figure.__name__}.png") for figure in FIGURES))
