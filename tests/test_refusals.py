"""The book shows what is said of every bad input: what it shows is what is said today."""

from __future__ import annotations

import pandas as pd
from support import refusals


def test_the_books_table_of_bad_inputs_is_what_is_said_today(monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    told = pd.read_csv(refusals.TABLE, dtype=str, keep_default_na=False)
    now = refusals.table()
    changed = now.merge(told, how="outer", indicator=True).query("_merge != 'both'")
    assert changed.empty, f"run `python tests/refusals.py`:\n{changed.to_string()}"
    assert str(refusals.TABLE.parents[3]) not in now.to_csv(), "no path of this machine"
