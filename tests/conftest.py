"""What the tests share: a cache of their own, small corpora, and the real ones where they are at hand."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.browser import CHROMIUM
from support.browser import FLAGS

from sernb import features
from sernb import runs

# A shell script's background jobs ignore Ctrl-C, and so would every process that a test starts and then interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

runs.import_nbformat()  # before the tests do, which would take two seconds more

LONG = ("slow", "notebook", "lab", "report")  # the markers of tests that `make test` leaves out
NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
REAL = Path(os.environ.get("SERNB_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist, which reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Distribute the tests over the workers of `--dist loadgroup` so that all of them end at about the same time.

    The tests that share a module's fixtures run first, in one worker per module, so that each such fixture is made
    once. The others are distributed one by one, long tests first.
    """
    if config.getoption("loadgroup", False):  # an option of workers alone
        for item in items:
            if _shares_fixtures(item):
                item.add_marker(pytest.mark.xdist_group(item.path.stem))
        items.sort(key=lambda item: not any(item.get_closest_marker(name) for name in LONG))


def _shares_fixtures(item: pytest.Item) -> bool:
    """Return whether a test uses a fixture that its module makes once for all of its tests."""
    definitions = [fixture for fixtures in item._fixtureinfo.name2fixturedefs.values() for fixture in fixtures]
    return any(fixture.scope == "module" and fixture.baseid.endswith(".py") for fixture in definitions)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory):
    """A feature store and demo folder of the tests' own, which the workers of pytest-xdist share.

    Nothing of the user's is read or left behind.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    folder.mkdir(exist_ok=True)
    before = os.environ.get("SERNB_CACHE")
    os.environ["SERNB_CACHE"] = str(folder)
    yield folder
    os.environ.pop("SERNB_CACHE") if before is None else os.environ.update(SERNB_CACHE=before)


@pytest.fixture(scope="session", autouse=True)
def forked_kernels():
    """Fork the kernels of the report's notebooks, as sweeps do, so that tests do not wait for imports.

    The first run of each notebook has a fresh kernel, in which a missing import is noticed.
    """
    seen = set()
    with pytest.MonkeyPatch.context() as patch:
        run_notebook = runs.run_notebook

        def run(notebook: Path, *args, **options) -> Path:
            fork = Path(notebook).absolute().parent == NOTEBOOKS and notebook in seen
            seen.add(notebook)
            return run_notebook(notebook, *args, **{"fork": fork, **options})

        patch.setattr(runs, "run_notebook", run)
        yield


@pytest.fixture(scope="session")
def real():
    """Folder of a real corpus by name; skips the test where it is not at hand."""

    def folder(name: str) -> Path:
        if not (REAL / name).is_dir():
            pytest.skip(f"the real corpus {name} is not in {REAL}; set SERNB_DATA to the folder that holds it")
        return REAL / name

    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 1.2 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=1200k,mode=777", "tmpfs"]
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(["mount", *options, folder]).returncode:
        pytest.skip("only root can mount a small file system")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.fixture(scope="module")
def browser():
    """The system's Chromium; Playwright's own download is not needed."""
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture
def own_features(monkeypatch: pytest.MonkeyPatch):
    """Forget the features that a test registers when it ends."""
    registered = features.extraction.REGISTERED
    known = {name: function for name, function in features.FEATURES.items() if name not in registered}
    monkeypatch.setattr("sernb.features.extraction.FEATURES", known)
    monkeypatch.setattr("sernb.features.extraction.REGISTERED", {})
