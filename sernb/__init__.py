"""Reproducible reports on speech emotion recognition: from a clip to a published page."""

__version__ = "0.1.0"
