"""Reproducible reports on speech emotion recognition: from a clip to a published page."""

import importlib
from types import ModuleType

__version__ = "0.1.0"
# In the order in which a clip travels: a package imports only from those before it.
PACKAGES = (
    "utils",
    "audio",
    "corpora",
    "features",
    "evaluation",
    "models",
    "studies",
    "results",
    "display",
    "lab",
    "runs",
    "report",
    "cli",
)


def __getattr__(name: str) -> ModuleType:
    """Import a package when it is first used, so that `import sernb` itself stays quick."""
    if name not in PACKAGES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """List what is public: the packages and the version."""
    return [*PACKAGES, "__version__"]
