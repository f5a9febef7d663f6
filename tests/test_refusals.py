"""The book's table of messages for bad inputs agrees with the current messages."""

from __future__ import annotations

import pandas as pd
from support import refusals


def test_the_books_messages_for_bad_inputs_are_current(monkeypatch):
    monkeypatch.delenv("SERNB_DATA", raising=False)
    published = pd.read_csv(refusals.TABLE, dtype=str, keep_default_na=False)
    current = refusals.table()
    changed = current.merge(published, how="outer", indicator=True).query("_merge != 'both'")
    assert changed.empty, f"run `PYTHONPATH=tests python -m support.refusals`:\n{changed.to_string()}"
    assert str(refusals.TABLE.parents[3]) not in current.to_csv(), "a path of this machine"
