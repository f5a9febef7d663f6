"""After a kill the same command completes the work, with the results of an undisturbed one: see support/kill.py."""

from __future__ import annotations

import pytest
from support import kill

pytestmark = pytest.mark.notebook


# An even seed kills all processes at once, an odd one the command alone.
@pytest.mark.parametrize(("kind", "seed"), [("extraction", 2), ("training", 4), ("small-sweep", 3)])
def test_after_a_kill_the_same_command_ends_as_if_undisturbed(tmp_path, kind, seed):
    (record,) = kill.kills(kind, 1, tmp_path, seed)
    log = (tmp_path / kind / "log.txt").read_text()
    assert record.ended, f"{record}\n{log[-2000:]}"
    assert record.equal, f"{record}\n{log[-2000:]}"


def test_a_difference_would_be_noticed(tmp_path):
    """Each digit of the results is compared; seconds and folders are not."""
    run = tmp_path / "run"
    run.mkdir()
    files = {"metrics.json": '{"a": 1, "seconds": 2}', "predictions.csv": "x\n1\n"}
    for name, text in files.items():
        (run / name).write_text(text)
    before = kill.run_results(tmp_path)
    (run / "metrics.json").write_text('{"a": 1, "seconds": 3}')
    assert kill.run_results(tmp_path) == before
    for name, text in {"metrics.json": '{"a": 2}', "predictions.csv": "x\n1.0\n"}.items():
        (run / name).write_text(text)
        assert kill.run_results(tmp_path) != before
        (run / name).write_text(files[name])
