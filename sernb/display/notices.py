"""What a notebook shows about its corpora before it uses them: notices, and the clips that are left out."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sernb import corpora
from sernb import features
from sernb.display.tables import redact

DEMO_NOTICE = "> **Demo page.**"  # the report moves the notice to the top of its page


def notices(*tables: pd.DataFrame | None) -> None:
    """Show the notices that the clips of some tables require: synthetic speech, content withheld from a page.

    Args:
        *tables: Clip tables, as `corpora.load` returns them; None is skipped, so that a test corpus may be missing.
    """
    from IPython.display import Markdown
    from IPython.display import display

    present = [table for table in tables if table is not None]
    names = {name for table in present for name in table["corpus"]}
    if text := corpora.synthetic_notice(*sorted(names)):
        display(Markdown(f"{DEMO_NOTICE} {text}"))
    if text := next(filter(None, map(corpora.privacy_notice, present)), ""):
        display(Markdown(f"> **Withheld.** {text}"))


def usable_clips(
    clips: pd.DataFrame, test_clips: pd.DataFrame | None, feature: str, **options: Any
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Drop the clips without a known emotion or with unusable audio, and show which audio could not be used.

    With a test corpus, both tables are also reduced to the emotions that both corpora have.

    Args:
        clips: Clip table of the corpus to train on.
        test_clips: Clip table of another corpus to test on, or None.
        feature: The feature that the notebook needs; it is extracted on the way, and stored.
        **options: Those of `features.split_usable`: `sample_rate`, `also`, `strict`, and the feature's parameters.

    Returns:
        Both tables without these clips (None stays None).

    Raises:
        AudioError: No clip can be used, or one cannot and `strict` is set.
        CorpusError: The two corpora have fewer than two emotions in common.
    """
    from IPython.display import Markdown
    from IPython.display import display

    clips = _drop_unusable(clips, feature, options)
    if test_clips is None:
        return clips, None
    clips, test_clips = corpora.keep_common_emotions(clips, _drop_unusable(test_clips, feature, options))
    name = test_clips["corpus"].iloc[0]
    display(Markdown(f"**Tested on `{name}`**, on the emotions that both corpora have:"))
    display(corpora.count_by_emotion(test_clips).T)
    return clips, test_clips


def _drop_unusable(clips: pd.DataFrame, feature: str, options: dict[str, Any]) -> pd.DataFrame:
    from IPython.display import Markdown
    from IPython.display import display

    usable, unusable = features.split_usable(corpora.drop_unknown(clips), feature, **options)
    if len(unusable):
        display(Markdown(features.describe_unusable(usable, unusable)))
        display(redact(unusable[["clip", "problem"]], clips))
    return usable
