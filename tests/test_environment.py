from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from functools import partial
from pathlib import Path

import nbformat
import pytest
import yaml

from sernb.results import saving

ROOT = Path(__file__).parents[1]
ON_CONDA = {"soundfile": "pysoundfile", "soxr": "soxr-python"}


def ranges(requirements: list[str]) -> dict[str, str]:
    """Name and version range of each requirement."""
    split = [re.fullmatch(r"([\w.-]+)\s*(.*)", requirement) for requirement in requirements]
    return {match[1]: match[2] for match in split}


def test_conda_gets_the_same_versions_as_pip():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = ranges([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    required = {ON_CONDA.get(name, name): versions for name, versions in required.items()}
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    from_pip = ranges(listed.pop()["pip"])
    from_conda = ranges(listed)
    assert from_conda.pop("pip") == "" and from_conda.pop("python") == project["requires-python"]
    assert from_conda | from_pip == required


def test_the_lock_file_contains_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    names = ranges([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    assert {name.replace(".", "-") for name in names} <= locked


@pytest.mark.parametrize("file", ["_config.yml", "environment.yml", "CITATION.cff"])
def test_no_key_occurs_twice(file: str):
    """A second `execute:` in `_config.yml` would silently win."""
    names = re.findall(r"^(\w[\w-]*):", (ROOT / file).read_text(), flags=re.MULTILINE)
    assert len(names) == len(set(names))


def test_the_version_is_the_same_everywhere():
    from sernb import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert __version__ == cited == project


def test_the_wheel_contains_the_notebooks_and_what_a_report_needs(tmp_path: Path):
    from hatchling.builders.wheel import WheelBuilder

    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = zipfile.ZipFile(wheel).namelist()
    files = {name.removeprefix("sernb/share/") for name in names if name.startswith("sernb/share/")}
    assert {"_config.yml", "CHANGELOG.md", "book/runs.yml", "book/results/waterfall.csv"} <= files
    for folder in ("notebooks/*.ipynb", "sweeps/*.yml", "book/*.md", "book/_static/*"):
        assert {path.relative_to(ROOT).as_posix() for path in ROOT.glob(folder)} <= files
    assert not [name for name in names if "checkpoints" in name or name.startswith("tests")]


def test_resources_are_found_in_an_installed_package(tmp_path: Path, monkeypatch):
    from sernb import runs
    from sernb import utils
    from sernb.utils import resources

    (tmp_path / "sernb" / "share" / "notebooks").mkdir(parents=True)
    notebook = tmp_path / "sernb" / "share" / "notebooks" / "01_explore.ipynb"
    notebook.touch()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(resources, "PACKAGE", tmp_path / "sernb")
    assert utils.project_root() == tmp_path / "sernb" / "share"
    for name in ("01_explore", "01_explore.ipynb", "notebooks/01_explore.ipynb"):
        assert runs.find_notebook(name) == notebook
    assert runs.find_notebook("elsewhere/01_explore.ipynb") == Path("elsewhere/01_explore.ipynb")
    Path("01_explore.ipynb").touch()
    assert runs.find_notebook("01_explore") == Path("01_explore.ipynb"), "a notebook of the user's comes first"


def test_the_revision_is_that_of_sernbs_own_checkout(tmp_path: Path, monkeypatch):
    """A copy in another project's repository, such as an environment in the user's thesis, has no revision."""
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    thesis = tmp_path / "thesis"
    copy = thesis / "sernb-copy"
    (copy / "sernb" / "results").mkdir(parents=True)
    (copy / "pyproject.toml").write_text('name = "sernb"\n')
    (copy / "sernb" / "__init__.py").write_text("")
    module = copy / "sernb" / "results" / "saving.py"
    module.write_text("")
    monkeypatch.setattr(saving, "__file__", str(module))
    subprocess.run([*git, "init", "-q", thesis], check=True)
    subprocess.run([*git, "-C", thesis, "commit", "-q", "--allow-empty", "-m", "thesis"], check=True)
    assert saving.git_revision() == ""
    subprocess.run([*git, "init", "-q", copy], check=True)
    subprocess.run([*git, "-C", copy, "add", "."], check=True)
    subprocess.run([*git, "-C", copy, "commit", "-q", "-m", "sernb"], check=True)
    revision = saving.git_revision()
    assert len(revision) == 10 and saving.git_revision() == revision
    module.write_text("changed = True\n")
    assert saving.git_revision() == f"{revision}+"


@pytest.mark.slow
def test_a_notebook_that_was_run_is_no_change_for_git(tmp_path: Path):
    printed = subprocess.run(["make", "-nB", "setup"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (command,) = re.findall(r"git config filter\.nbstripout\.clean '([^']+)'", printed)
    command = command.replace(".venv/bin/nbstripout", f"{sys.executable} -m nbstripout")
    git = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True)
    git(["git", "init", "-q"])
    git(["git", "config", "filter.nbstripout.clean", command])
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    names = ["01_explore.ipynb", "04_claims.ipynb"]
    for name in names:
        shutil.copy(ROOT / "notebooks" / name, tmp_path)
    git(["git", "add", "."])
    for name in names:
        assert git(["git", "show", f":{name}"]).stdout == (tmp_path / name).read_text(), (
            "the filter changes nothing else"
        )
        notebook = nbformat.read(tmp_path / name, as_version=4)
        cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
        cell.execution_count, cell.outputs = 3, [nbformat.v4.new_output("stream", text="a line")]
        notebook.metadata.language_info.update(version="3.12.1", mimetype="text/x-python", file_extension=".py")
        nbformat.write(notebook, tmp_path / name)
    assert git(["git", "diff", "--stat"]).stdout == ""
    git(["git", "add", "."])
    assert "M" not in git(["git", "status", "--short"]).stdout, "git sees the files' new size until then"


@pytest.mark.slow
def test_jupyterlab_opens_the_first_notebook_and_requests_no_news_from_the_network(monkeypatch):
    from jupyterlab.handlers.announcements import NeverCheckForUpdate
    from jupyterlab.labapp import LabApp

    monkeypatch.setenv("JUPYTER_NO_CONFIG", "1")
    printed = subprocess.run(["make", "-nB", "lab"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    app = LabApp()
    app.parse_command_line(re.findall(r"--LabApp\S+", printed))
    assert app.default_url == "/lab/tree/notebooks/01_explore.ipynb"
    assert app.news_url is None and app.check_for_updates_class is NeverCheckForUpdate


@pytest.fixture(scope="module")
def made_once() -> object:
    return object()


def test_tests_that_share_a_fixture_of_their_module_run_in_one_worker(
    request: pytest.FixtureRequest, made_once: object
):
    """pytest-xdist marks the tests of a group by their id; with some versions of pytest it does not see the groups."""
    in_workers = bool(request.config.getoption("loadgroup", False))
    assert request.node.nodeid.endswith("@test_environment") == in_workers


@pytest.mark.slow
def test_jupyterlab_does_not_ask_about_its_news(tmp_path: Path):
    printed = subprocess.run(["make", "-nB", "lab"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (setting,) = re.findall(r'JUPYTER_CONFIG_PATH="[^"]+"', printed)
    code = """from jupyterlab.labapp import LabApp
from jupyterlab_server.settings_utils import get_settings
app = LabApp()
settings, _ = get_settings(app.app_settings_dir, app.schemas_dir, ".", "@jupyterlab/apputils-extension:notification")
print(settings["schema"]["properties"]["fetchNews"]["default"])"""
    script = f"{setting} {sys.executable} -c '{code}'"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    options = {"cwd": tmp_path, "env": environment, "capture_output": True, "text": True, "check": True}
    assert subprocess.run(["sh", "-c", script], **options).stdout.strip() == "false"
