"""Lists of words, YAML files, and digests of texts, files and folders."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Files that file browsers and editors put into any folder; names that begin with a dot are ignored too.
IGNORED_FILES = {"Thumbs.db", "desktop.ini", "__pycache__"}


def join_words(words: Iterable[str]) -> str:
    """Join words, at least one, as in a sentence.

    Example:
        >>> join_words(["noise", "babble", "telephone"])
        'noise, babble and telephone'
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def parse_yaml(text: str) -> Any:
    """Parse YAML 1.2, in which 042 is 42 and 12:30 is text, and in which a key occurs once.

    Raises:
        ValueError: The text is not such YAML; the message says where it breaks.
    """
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    try:
        return yaml.load(text)
    except Exception as error:  # ruamel's own and, for a wrong tag, whatever its constructors raise
        raise ValueError(f"not YAML: {_yaml_problem(error)}") from error


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    if (problem := getattr(error, "problem", None)) is None or mark is None:
        return str(error) or type(error).__name__
    text = re.sub(r"found duplicate key (.+?) with value .*", r"the key \1 occurs twice", problem.strip(), flags=re.S)
    return f"{text} (line {mark.line + 1}, column {mark.column + 1})"


def read_yaml(path: Path) -> Any:
    """Read a YAML file (see `parse_yaml`).

    Raises:
        ValueError: It is not such YAML; the message says where it breaks.
        OSError: It cannot be read.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not YAML: it is not UTF-8 text ({error.reason} at byte {error.start})") from error


def file_digest(path: Path) -> str:
    """Return a short digest of one file, or "missing"."""
    return text_digest(path.read_bytes())[:10] if path.is_file() else "missing"


def text_digest(text: str | bytes) -> str:
    """Return the SHA-256 digest of a text or of bytes, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text).hexdigest()


def is_ignored(name: str) -> bool:
    """Return whether a file or folder is hidden, or one that file browsers and editors leave behind."""
    return name.startswith(".") or name in IGNORED_FILES


def list_files(folder: Path) -> list[Path]:
    """Return the files in a folder and below it, sorted, without those of `is_ignored`."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(map(is_ignored, path.relative_to(folder).parts)))


def folder_digest(folder: Path) -> str:
    """Return a digest of the names and bytes of the files that `list_files` returns."""
    names = {path.relative_to(folder).as_posix(): path for path in list_files(folder)}
    return text_digest("".join(f"{name} {text_digest(path.read_bytes())}\n" for name, path in names.items()))
