"""Floor 3: what the files of finished runs say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sernb import metrics
from sernb import splits


def predictions(folder: str | Path) -> pd.DataFrame:
    """A run's `predictions.csv`; speakers stay text (`01`)."""
    return pd.read_csv(Path(folder) / "predictions.csv", dtype={"speaker": str, "clip": str})


def outcome(result: Mapping[str, Any]) -> str:
    """One sentence for the page: that all models of a `metrics.json` were trained, or which failed in which epoch."""
    failed = [f"{name}: {entry['failed']}" for name, entry in result["models"].items() if "failed" in entry]
    return f"**Failed:** {'; '.join(failed)}." if failed else "Trained to the last epoch."


def scores_table(result: Mapping[str, Any]) -> pd.DataFrame:
    """Loss and scores of each model and side of a `metrics.json`, with the test intervals."""
    rows = []
    for name, entry in result["models"].items():
        for side in (side for side in splits.SIDES if side in entry):
            low_high = {f"{m} 95 %": entry["ci95"][m] for m in ("accuracy", "uar")} if side == "test" else {}
            shown = {label: _range(bounds) for label, bounds in low_high.items()}
            rows.append({"model": name, "side": side, **entry[side], **shown})
    return pd.DataFrame(rows).set_index(["model", "side"]).fillna("") if rows else pd.DataFrame()


def _range(bounds: list) -> str:
    return "not to be had" if None in bounds or np.isnan(bounds).any() else f"{bounds[0]:.3f} to {bounds[1]:.3f}"


def against_claims(result: Mapping[str, Any]) -> pd.DataFrame:
    """The paper's accuracies for this corpus beside the run's, by side; NaN where the paper is mute."""
    claimed = metrics.claims(result["corpus"]["name"])
    measured = next(iter(result["models"].values()))
    rows = {
        side: {
            "claimed, mean of its runs": claimed.get(f"mean {side}", np.nan),
            "claimed, best": claimed.get(f"best {side}", np.nan),
            "this run": measured.get(side, {}).get("accuracy", np.nan),
        }
        for side in splits.SIDES
    }
    return pd.DataFrame(rows).T
