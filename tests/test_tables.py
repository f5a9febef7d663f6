"""Tables and sentences for pages."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from sernb import display
from sernb import evaluation
from sernb import results

NO_INTERVAL = "\N{NO-BREAK SPACE}[\N{EN DASH}]"


def test_scores_are_shown_with_their_intervals():
    side = {"loss": 1.0, "accuracy": 0.2225, "uar": 0.4, "macro_f1": 0.3, "weighted_f1": 0.2}
    entry = {"train": side, "val": side, "test": side, "ci95": {"accuracy": [0.1, 0.5], "uar": [None, None]}}
    table = display.scores_table({"models": {"m": entry, "bad": {"failed": "NaN"}}})
    assert list(table) == ["loss", "accuracy [95% CI]", "UAR [95% CI]"]
    assert table.loc[("m", "training")].tolist() == ["1.000", "0.223", "0.400"]
    one = f"0.400{NO_INTERVAL}"
    assert table.loc[("m", "test")].tolist() == ["1.000", display.keep_together("0.223 [0.100, 0.500]"), one]
    assert display.scores_table({"models": {"bad": {"failed": "NaN"}}}).empty


def test_cells_without_an_interval_say_why():
    lines = ["a,sad,sad", "b,sad,sad", "c,sad,sad", "a,calm,sad", "b,calm,sad", "c,calm,sad"]
    predictions = pd.read_csv(io.StringIO("\n".join(["speaker,truth,prediction", *lines])))
    few = display.keep_together("too little data")
    cells = display.format_cells(evaluation.score_by(predictions, "emotion"), ("accuracy",))
    assert cells.loc["calm"].tolist() == [3, 3, display.keep_together("0.000 [\N{EN DASH}]"), few]
    single = evaluation.score_by(predictions[predictions["speaker"] == "a"].assign(model="m"), "model")
    assert display.format_cells(single).loc["m"].tolist() == [
        2,
        1,
        *[f"0.500{NO_INTERVAL}"] * 2,
        "one speaker: no interval",
    ]
    assert (
        display.describe_whiskers(single)
        == "no whiskers: an interval needs at least 4 test speakers whose scores differ"
    )
    assert (
        display.describe_whiskers(single.assign(uar_low=0.2)) == "whiskers are 95% confidence intervals over speakers"
    )
    assert "note" not in display.format_cells(evaluation.score_by(predictions, "speaker").assign(note="", speakers=2))


def test_split_sizes_and_decimals_are_formatted():
    emotions, split = ["sad", "calm"] * 3, ["train"] * 4 + ["test"] * 2
    rows = pd.DataFrame({"clip": list("abcdef"), "speaker": list("111233"), "emotion": emotions, "split": split})
    one = display.format_split_sizes(evaluation.split_sizes(rows))
    assert list(one) == ["training", "test"] and one["training"].to_dict() == {
        "rows": 4, "clips": 4, "speakers": 2, "calm": 2, "sad": 2,
    }  # fmt: skip
    folds = display.format_split_sizes(evaluation.split_sizes({1: rows, 2: evaluation.add_copies(rows)}))
    assert folds.loc[1].to_dict() == {
        "training": "4 rows, 2 speakers, 2 per emotion", "test": "2 rows, 1 speaker, 1 per emotion",
    }  # fmt: skip
    assert folds["training"][2] == "8 rows (4 clips), 2 speakers, 4 per emotion"
    table = display.format_decimals(pd.DataFrame({"recall": [0.3, -0.001, float("nan")], "rows": [1, 2, 3]}), 2)
    assert table["recall"].tolist() == ["0.30", "0.00", "\N{EN DASH}"] and table["rows"].tolist() == [1, 2, 3]


def test_unused_clips_and_the_meaning_of_a_score_are_described():
    table = pd.DataFrame({"clip": list("abc"), "speaker": list("112")})
    assert display.describe_unused(table, {1: table[:2], 2: table[2:]}) == ""
    text = display.describe_unused(table, {0: table[:2]}, "demo-local")
    assert "1 of 3 clips, from 1 speaker;" in text and "is tested on `demo-local`" in text
    assert "to no set" in display.describe_unused(table, {0: table[:1]})
    none = dict.fromkeys(("speaker", "twin", "content", "statement"), 0)
    assert "This split leaks" in display.interpret_split({"split": {"leaks": {**none, "twin": 1}}})
    assert "new speakers" in display.interpret_split({"split": {"leaks": {**none, "statement": 9}}})
    elsewhere = {"leaks": {**none, "speaker": 2}, "test_leaks": none, "tested": {"name": "local"}}
    assert "microphones of `local`" in display.interpret_split({"split": elsewhere})


def test_many_runs_are_compared():
    scores = {"uar": [0.5, 0.25], "accuracy": [0.5, 0.75]}
    ends = {f"{name}_{end}": value for name, value in scores.items() for end in ("low", "high")}
    pool = pd.DataFrame({**scores, **ends, "val_accuracy": [0.625, 1.0]}, ["corrected", "leak"])
    table = display.compare_with_base(pool, "corrected")
    assert table["uar, points"].tolist() == [0, -25] and table["accuracy, points"].tolist() == [0, 25]
    assert table["validation above test, points"].tolist() == [12.5, 25]
    both = display.scores_side_by_side({"first": pool, "second": pool[:1]}, "uar")
    assert both["first"]["leak"] == display.keep_together("0.250 [\N{EN DASH}]") and pd.isna(both["second"]["leak"])
    curve = [0.1, 0.9, 0.1, 0.1, 0.1, 0.6, 0.6, 0.6, 0.6, 0.6]
    history = pd.DataFrame({"epoch": range(1, 11), "val_accuracy": curve})
    assert display.describe_epochs([history, history], 0.55) == "epoch 8"
    assert display.describe_epochs([history, history[:5]], 0.55) == "reached by 1 of 2 seeds"
    assert display.describe_epochs([history], 0.8) == "not reached"


def test_the_origin_of_a_sweep_is_complete():
    sweep = results.read_sweep("book/results", "crema-1d-vs-2d").query("SEED == 42")
    text = display.describe_provenance({"crema-1d-vs-2d": sweep})
    assert text.startswith("- `crema-1d-vs-2d`: 4 runs, ")
    origin = {"seed": sweep["SEED"], "revision": sweep["revision"], "corpus fingerprints": sweep["fingerprint"]}
    for kind, values in origin.items():
        assert f"; {kind} {', '.join(sorted(set(map(str, values))))}" in text
    longest = round(sweep["seconds"].max() / 60)
    assert longest > 1 and display.keep_together(f"up to {longest} minutes") in text
    assert "machine Linux" in text and "command `sernb sweep sweeps/crema-1d-vs-2d.yml`" in text


def test_edge_cases_have_their_sentences():
    assert display.describe_confusion(np.eye(2, dtype=int), ["sad", "calm"]) == "No clip is misclassified."
    one = display.describe_confusion(np.array([[3, 1], [0, 4]]), ["sad", "calm"])
    assert one == "The most frequent confusion is sad predicted as calm (1 clip)."
    assert display.describe_snr(pd.Series(dtype=float)) == ""
    assert display.describe_balance(pd.DataFrame({"emotion": []})) == "There are no clips."
    cells = pd.DataFrame({"uar": [float("nan")], "speakers": [1], "uar_low": [float("nan")]}, index=["m"])
    assert display.describe_ranking(cells, []) == display.describe_ranking(cells[:0], []) == "No model has a UAR."
    assert display.describe_epochs([], 0.5) == "not reached"
    plain = {"distortion": "none", "level": float("nan"), "unit": "", "uar": 0.5, "uar_low": 0.4, "uar_high": 0.6}
    assert "no distortion was measured" in display.describe_robustness(pd.DataFrame([plain | {"chance": 0.25}]))
    failed = pd.DataFrame({"run": ["r"], "status": ["failed"], "seconds": [1.0]})
    assert display.describe_provenance({"grid": failed}) == "- `grid`: 1 run (1 failed)"


def test_all_distortions_with_the_lowest_score_are_named():
    plain = {"distortion": "none", "level": np.nan, "unit": "", "uar": 0.6, "uar_low": 0.5, "chance": 0.25}
    levels = [("noise", 20.0, "dB", 0.4), ("noise", 0.0, "dB", 0.3), ("telephone", np.nan, "", 0.3)]
    rows = [plain | dict(zip(("distortion", "level", "unit", "uar"), level, strict=True)) for level in levels]
    text = display.describe_robustness(pd.DataFrame([plain, *rows]))
    assert text == "**UAR falls from 0.600 to 0.300, its lowest value, with noise at 0 dB and with telephone.**"
    unharmed = display.describe_robustness(pd.DataFrame([plain | {"uar_high": 0.7}, plain | {"distortion": "noise"}]))
    assert unharmed.startswith("No distortion lowers the undistorted UAR of 0.600")


def test_the_range_over_seeds_is_given_only_for_several():
    pool = results.pool_runs(results.read_sweep("book/results", "waterfall"), "label")
    by_seed = display.format_pooled(pool)["accuracy, by seed"]
    assert by_seed["unseen speakers"] == "one seed" and " to " in by_seed["speech only"].replace(
        "\N{NO-BREAK SPACE}", " "
    )
