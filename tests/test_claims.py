from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from sernb import display
from sernb import studies


def runs(**scores: list[float]) -> pd.DataFrame:
    return pd.DataFrame(scores).assign(NORMALISE="pad", epochs=80)


def test_claims_are_those_of_the_paper():
    assert studies.claimed_scores("ravdess")["mean test"] == 0.813
    assert studies.claimed_scores("demo-local")["best test"] == 0.612
    assert studies.claimed_scores("crema").empty


@pytest.mark.parametrize(
    ("measured", "unseen", "of_training", "verdict"),
    [
        (0.80, 0.80, False, "holds"),
        (0.79, 0.79, False, "not reached"),
        (0.85, 0.60, False, "holds only with the leak"),
        (0.85, np.nan, True, "holds"),
        (0.85, np.nan, False, ""),
        (np.nan, 0.9, False, ""),
    ],
)
def test_the_verdict_depends_on_the_measurements(measured, unseen, of_training, verdict):
    assert studies.claim_verdict(0.813, measured, unseen, of_training=of_training)[0] == verdict


def test_a_claim_that_one_seed_reaches_is_reached():
    assert studies.claim_verdict(0.813, 0.77, 0.5, most=0.82)[0] == "holds only with the leak"
    assert studies.claim_verdict(0.813, 0.77, 0.5, most=0.8126)[0] == "not reached", "scores are not rounded"
    assert studies.claim_verdict(0.813, 0.79294, 0.5)[0] == "not reached"
    assert studies.claim_verdict(0.813, 0.77, 0.5, most=0.80)[0] == "not reached"


def test_a_best_is_over_all_runs_and_a_mean_over_the_seeds_of_the_best_setting():
    tries = runs(accuracy=[0.15, 0.84], train_accuracy=[0.15, 0.97], val_accuracy=[0.15, np.nan])
    published = runs(accuracy=[0.84, 0.80], train_accuracy=[0.97, 0.95], val_accuracy=[0.82, 0.84])
    unseen = {"accuracy": 0.55, "val_accuracy": 0.575}
    table = studies.verdict_table(tries, published, unseen).query("corpus == 'RAVDESS'").set_index("claim")
    assert table.loc["mean test", ["measured", "unseen"]].tolist() == pytest.approx([0.82, 0.55])
    assert table.loc["best val", ["measured", "unseen"]].tolist() == pytest.approx([0.15, 0.575])
    assert "2 seeds, 0.800 to 0.840" in table["why"]["mean test"]
    formatted = display.format_verdicts(table.reset_index().assign(corpus="RAVDESS"))
    assert "why" not in formatted
    reasons = display.describe_reasons(table.reset_index().assign(corpus="RAVDESS"))
    assert "- RAVDESS, mean test: 2 seeds, 0.800 to 0.840." in reasons.splitlines()
    assert (
        formatted["measured"]["RAVDESS", "mean test"] == "0.820"
        and formatted["unseen"]["RAVDESS", "best train"] == "\N{EN DASH}"
    )
    assert table["verdict"].to_dict() == {
        "best train": "holds",
        "best val": "not reached",
        "mean train": "holds",
        "mean val": "holds only with the leak",
        "mean test": "holds only with the leak",
    }


def test_the_best_recipe_is_chosen_on_validation_among_those_with_most_seeds():
    rows = [
        ("quick, 80 epochs", 80, 0.77, 0.82),
        ("quick, 80 epochs", 80, 0.79, 0.82),
        ("quick, 120 epochs", 120, 0.80, 0.80),
        ("quick, 120 epochs", 120, 0.82, 0.80),
    ]
    rows += [("plain, 240 epochs", 240, 0.90, 0.90)]
    tries = pd.DataFrame(rows, columns=["label", "epochs", "val_accuracy", "accuracy"]).assign(status="finished")
    assert studies.best_recipe_runs(tries)["epochs"].tolist() == [120, 120]
    assert studies.best_recipe_runs(tries[:0]).empty


def test_claims_about_the_local_corpus_cannot_be_checked():
    nothing = runs(accuracy=[], train_accuracy=[], val_accuracy=[])
    table = studies.verdict_table(nothing, nothing, {})
    assert set(table.loc[table["corpus"] == "local", "verdict"]) == {"cannot be checked"}
    assert set(table.loc[table["corpus"] == "RAVDESS", "why"]) == {"not measured yet"}


def test_the_waterfall_says_what_each_step_costs():
    steps = pd.DataFrame(
        {"accuracy": [0.8, 0.55], "accuracy_low": [0.7, 0.5], "accuracy_high": [0.9, 0.6], "seeds": 3, "speakers": 24},
        index=["all of it", "nobody twice"],
    )
    lines = display.describe_waterfall(steps).splitlines()
    assert (
        lines[0]
        == "- **All of it**: 0.800\N{NO-BREAK SPACE}[0.700,\N{NO-BREAK SPACE}0.900] (3 seeds, 24 speakers tested)."
    )
    assert (
        "0.550\N{NO-BREAK SPACE}[0.500,\N{NO-BREAK SPACE}0.600]" in lines[1] and "\N{MINUS SIGN}25.0 points" in lines[1]
    )
    same = display.describe_waterfall(steps.assign(accuracy=[0.8, 0.79999]))
    assert "+0.0 points" in same and "\N{MINUS SIGN}0.0" not in same
    assert "not been measured" in display.describe_waterfall(steps[:1])
