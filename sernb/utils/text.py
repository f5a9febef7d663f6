"""YAML files and digests of texts, files and folders."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

# files


class _StrictLoader(yaml.SafeLoader):
    """YAML in which a key may stand once; PyYAML lets the second silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Build a mapping, refusing a key that stands twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(problem=f"{twice[0]!r} stands twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """Read a YAML file in which no key stands twice.

    Raises:
        ValueError: It is no such file; the message says where it breaks.
        OSError: It cannot be read.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _StrictLoader)  # noqa: S506 (a SafeLoader)
    except OSError:
        raise
    except Exception as error:  # PyYAML's own and, of a wrong tag, whatever its constructors raise
        said = str(error).replace('"<unicode string>", ', "") or type(error).__name__
        raise ValueError(f"not YAML: {said}") from error


def file_digest(path: Path) -> str:
    """Of one file; "missing" where there is none."""
    return text_digest(path.read_bytes())[:10] if path.is_file() else "missing"


def text_digest(text: str | bytes) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text).hexdigest()


def list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def folder_digest(folder: Path, without: tuple[str, ...] = ()) -> str:
    """Of the names and bytes of all files in a folder, but for those of some names."""
    files = [path for path in list_files(folder) if path.name not in without]
    return text_digest("".join(f"{path.relative_to(folder)} {text_digest(path.read_bytes())}\n" for path in files))
