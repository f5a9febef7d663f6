"""Describe a model: what it was trained on, how well it does on unseen speakers, and what it is for."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from sernb import corpora
from sernb.results.outputs import BASELINE_FILE
from sernb.results.prediction import TrainedRun


def model_card(run: TrainedRun) -> str:
    """Return a model card as Markdown: what it was trained on, its score on unseen speakers, what it is for."""
    name, corpus, split = run.model.name, run.result["corpus"], run.result["split"]
    synthetic = " It was trained on **synthetic speech** and says nothing about people." * bool(
        corpora.synthetic_notice(corpus["name"])
    )
    return f"""\
**{name}**, trained by `{Path(run.result["notebook"]).stem}` on {corpora.get_corpus(corpus["name"]).title}:
{_describe_training(run)} (protocol `{split["protocol"]}`, fingerprint
`{corpus["fingerprint"]}`).{synthetic}

- {_describe_score(run)}{_describe_baseline(run)}
- **Licence of the data:** {corpora.get_corpus(corpus["name"]).licence}. It applies to anyone who passes this model on.
- **Labels:** {", ".join(run.labels)}. The model always returns one of these, and its probabilities are not guarantees.
- **Intended use:** learning and research, to explore how such a model classifies speech.
- **Limits:** one model and one seed. A different microphone, room, language, age or illness is a different task.
- **Not a diagnosis**, and not for decisions about the person who speaks.
"""


def _describe_training(run: TrainedRun) -> str:
    if final := run.result.get("final"):
        return f"{final['clips']} clips of all {final['speakers']} speakers"
    return f"{run.result['split']['train']} rows of {_count_speakers(run, 'train')}"


def _describe_score(run: TrainedRun) -> str:
    entry, split = run.result["models"][run.model.name], run.result["split"]
    uar, (low, high) = entry["test"]["uar"], entry["ci95"]["uar"]
    interval = "no interval" if low is None else f"95% CI {low:.3f} to {high:.3f}"
    tested = sum(any(row) for row in entry["confusion"])  # emotions with test rows
    score = f"**{uar:.3f}** ({interval}; chance {1 / tested:.3f}), {split['test']} rows"
    if "tested" in split:
        score += f" of {corpora.get_corpus(split['tested']['name']).title}"
    enrolled = ""
    if run.inputs.prior_clips:
        clips = run.result["parameters"]["ENROL_CLIPS"]
        enrolled = f", with up to {clips} other clips of the speaker enrolled for each row"
    if split.get("test_leaks", split["leaks"])["speaker"]:  # validation may share speakers where the test does not
        how = "On clips of the speakers that it was trained on"
        return f"**UAR on unseen speakers: not measured.** {how}: {score}{enrolled}."
    folds = split.get("folds", [])
    how = f", each tested by one of {len(folds)} models that were trained on other speakers" * bool(folds)
    return f"**UAR on unseen speakers:** {score} of {_count_speakers(run, 'test')}{how}{enrolled}."


def _describe_baseline(run: TrainedRun) -> str:
    """Return a sentence on the simple baseline that the run's notebook scored on the same clips, if it did."""
    file = run.folder / BASELINE_FILE
    if not file.is_file():
        return ""
    scores = pd.read_csv(file, index_col="model")["uar"]
    return f" On the same clips, *mfcc-svm*, a simple baseline, has a UAR of {scores['mfcc-svm']:.3f}."


def _count_speakers(run: TrainedRun, side: str) -> str:
    number = run.result["split"]["speakers"][side]
    return f"{number} speaker{'s' * (number != 1)}"
