"""Show the scores of predictions that were made elsewhere."""

from __future__ import annotations

from sernb import evaluation
from sernb import results
from sernb.display.charts import confusion_heatmap
from sernb.display.style import caption
from sernb.display.tables import describe_confusion
from sernb.display.tables import format_cells


def scored_predictions(scored: results.ScoredPredictions) -> None:
    """Show what `results.score_predictions` returns: scores, leaks, the comparison with a run, and the confusions."""
    from IPython.display import Markdown
    from IPython.display import display

    display(format_cells(scored.scores))
    chance = evaluation.chance_level(scored.predictions["truth"])
    display(Markdown("\n\n".join([f"Chance is a UAR of {chance:.3f}.", *scored.remarks])))
    if scored.split is not None:
        display(evaluation.leak_banner(scored.split))
    if scored.comparison is not None:
        display(Markdown(scored.comparison.summary))
    display(format_cells(scored.by_emotion, ["accuracy"]))
    confusion_heatmap(scored.confusion, scored.labels, title=scored.scores.index[0])
    caption(describe_confusion(scored.confusion, scored.labels))
