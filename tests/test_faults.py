import numpy as np
import pandas as pd
import pytest
from support.audio_files import tone
from support.audio_files import write

from sernb import evaluation
from sernb import studies


def test_as_published_is_every_fault():
    assert studies.resolve_faults(["as-published"]) == list(studies.FAULTS)
    assert studies.resolve_faults([]) == []
    assert studies.resolve_faults(["raw-power", "label-order"]) == ["label-order", "raw-power"]


def test_a_misspelt_fault_is_refused_with_a_hint():
    with pytest.raises(ValueError, match="did you mean 'padded-means'"):
        studies.resolve_faults(["padded-mean"])


def test_constant_validation_repeats_the_last_test_clip():
    rows = pd.DataFrame({"split": ["train", "val", "test", "val", "test", "train"]})
    x = np.arange(12).reshape(6, 2)
    assert studies.constant_validation(x, rows).tolist() == [[8, 9], [8, 9]]


def test_a_split_by_clip_always_leaks_speakers():
    assert studies.fault_table([], "speaker")["here"].eq("off").all()
    for protocol in evaluation.SPLIT_BY_CLIP:
        assert studies.fault_table([], protocol)["here"].to_dict()["speaker-leak"] == "on"
    assert studies.fault_table(["raw-power"], "speaker")["here"].to_dict()["raw-power"] == "on"


def test_listing_order_is_that_of_first_appearance():
    assert studies.listing_order(pd.Series(["sad", "angry", "sad", "fear"])) == ["sad", "angry", "fear"]


def test_padded_means_pads_to_the_longest_clip(tmp_path):
    for i, seconds in enumerate((0.5, 0.75)):
        write(tmp_path / f"{i}.wav", tone(seconds, 16000), 16000)
    clips = pd.DataFrame({"path": [str(tmp_path / "0.wav"), str(tmp_path / "1.wav")]})
    assert studies.padded_length(clips, 8000, ["padded-means"]) == 6000
    assert studies.padded_length(clips, 8000, ["raw-power"]) == 0
