from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

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


def test_the_lock_holds_every_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    names = ranges([*project["dependencies"], *project["optional-dependencies"]["dev"]])
    assert {name.replace(".", "-") for name in names} <= locked


@pytest.mark.parametrize("file", ["_config.yml", "environment.yml", "CITATION.cff"])
def test_no_key_stands_twice(file: str):
    """A second `execute:` in `_config.yml` would silently win."""
    names = re.findall(r"^(\w[\w-]*):", (ROOT / file).read_text(), flags=re.MULTILINE)
    assert len(names) == len(set(names))


def test_the_package_says_its_version_once():
    from sernb import __version__

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert __version__ == cited == project
