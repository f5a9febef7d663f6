"""Players and figures of clips show the sound they are given."""

import base64
import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import soundfile
from matplotlib.colors import to_rgb
from support.audio_files import tone

from sernb import display


def decode_player(html):
    data = re.search(r"data:audio/mpeg;base64,([^\"]+)", html)[1]
    return soundfile.read(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 10000])
def test_a_player_contains_the_sound(rate):
    signal = tone(1.0, rate, 440)
    played, played_rate = decode_player(display.audio_element(signal, rate, "x"))
    assert len(played) / played_rate == pytest.approx(1.0, abs=0.15)
    spectrum = np.abs(np.fft.rfft(played))
    assert np.fft.rfftfreq(len(played), 1 / played_rate)[spectrum.argmax()] == pytest.approx(440, abs=3)
    assert np.sqrt((played**2).mean()) == pytest.approx(np.sqrt((signal**2).mean()), rel=0.15)


def test_players_are_small_limited_and_never_clip():
    assert len(display.encode_mp3(tone(3, 22050), 22050)) < 40_000
    played, rate = decode_player(display.audio_element(3 * tone(20, 16000, level=1), 16000, "x"))
    assert len(played) / rate < display.PLAYER_SECONDS + 0.2
    assert np.abs(played).max() < 1.05


def test_a_table_of_players_names_each_and_escapes_text():
    html = display.audio_table(
        [{"emotion": "<sad>", "clean": (tone(0.2, 16000), 16000), "noisy": (tone(0.2, 16000), 16000)}]
    ).data
    assert html.count("<audio") == 2 and "<sad>" not in html
    assert 'aria-label="noisy: &lt;sad&gt;"' in html


def test_mel_bands_are_drawn_at_their_frequencies():
    ax = display.mel_spectrogram(np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32), 16000, "x")
    mesh = ax.collections[0]
    hertz = mesh.get_coordinates()[:, 0, 1]
    loudest = np.asarray(mesh.get_array()).reshape(len(hertz) - 1, -1).mean(axis=1).argmax()
    assert hertz[loudest] == pytest.approx(1000, rel=0.06)
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize(("rate", "ticks"), [(8000, 6), (16000, 7), (22050, 7)])
def test_the_nyquist_frequency_of_16_khz_is_marked(rate, ticks):
    ax = display.mel_spectrogram(tone(0.5, rate), rate, "a tone")
    assert len(ax.get_yticks()) == ticks and ax.get_ylim()[1] == rate / 2
    assert ax.get_yticklabels()[-1].get_text() == ("8k" if ticks == 7 else "4k")
    ax.figure.canvas.draw()
    assert ax.figure.axes[-1].get_yticklabels()[-1].get_text() == "0 dB"


def test_every_emotion_has_a_colour_of_its_own():
    from sernb import corpora
    from sernb import display

    assert set(display.EMOTION_COLOURS) == set(corpora.EMOTIONS)
    assert len(set(display.EMOTION_COLOURS.values())) == len(display.EMOTION_COLOURS)


def test_words_of_a_corpus_of_its_own_are_assigned_colours():
    from sernb import display

    table = pd.DataFrame({"emotion": ["pain", "sad", "anxious", "pain"], "seconds": [1.0, 2, 3, 4]})
    ax = display.clip_counts(table)
    colours = [bar.get_facecolor()[:3] for bar in ax.patches]
    assert len(set(colours)) == 3 and colours[2] == pytest.approx(to_rgb(display.EMOTION_COLOURS["sad"]))
    assert to_rgb(display.emotion_colour("pain")) == pytest.approx(colours[1])
    display.boxes_by_emotion(table, "seconds", "duration (s)")
    assert not set(display.OWN_COLOURS) & set(display.EMOTION_COLOURS.values())


def test_the_overview_of_a_clip_has_one_time_axis_where_the_player_expects_it():
    figure = display.clip_overview(tone(1.5, 22050), 22050, "sad")
    assert [ax.get_ylabel() for ax in figure.axes] == ["amplitude", "mel bands (Hz)", "MFCC", "pitch (Hz)"]
    for ax in figure.axes:
        assert ax.get_xlim() == pytest.approx((0, 1.5))
        assert (ax.get_position().x0, ax.get_position().x1) == pytest.approx(display.TIME_AXIS_SPAN)
    assert display.encode_png(figure).startswith(b"\x89PNG")
    for short in (np.zeros(2000, np.float32), np.ones(30, np.float32)):
        display.encode_png(display.clip_overview(short, 16000))


def test_probabilities_over_time_fill_the_whole_clip():
    windows = pd.DataFrame({"sad": [0.2, 0.6], "calm": [0.8, 0.4]}, index=[1.0, 1.5])
    figure = display.probabilities_over_time(windows, tone(2.5, 16000), 16000)
    stack = figure.axes[1].collections[0].get_paths()[0].vertices
    assert stack[:, 0].min() == 0 and stack[:, 0].max() == 2.5
    assert display.encode_png(display.probabilities_over_time(windows.iloc[:1], tone(0.5, 16000), 16000))


def test_bars_show_the_probabilities():
    ax = display.probability_bars(pd.Series({"sad": 0.25, "calm": 0.75}))
    assert [bar.get_width() for bar in ax.patches] == [0.25, 0.75] and "chance, 0.5" in ax.get_xlabel()


EMPTY = pd.DataFrame(columns=["emotion", "zcr", "rms", "note", "epoch", "prediction", "speakers", "uar"])
DRAWING = [
    (display.mel_spectrogram, np.zeros(0, np.float32), {"sample_rate": 16000, "title": ""}),
    (display.waveform, np.zeros(0, np.float32), {"sample_rate": 16000, "emotion": "sad"}),
    (display.feature_map, np.zeros((0, 0)), {"title": "", "ylabel": ""}),
    (display.waveforms_and_spectrograms, {}, {"sample_rate": 16000}),
    (display.spectrograms_side_by_side, {}, {"sample_rate": 16000}),
    (display.probabilities_over_time, EMPTY, {"signal": np.zeros(0), "sample_rate": 16000}),
    (display.training_history, EMPTY, {}),
    (display.confusion_heatmap, [], {"labels": []}),
    (display.confusion_heatmaps, {}, {"labels": []}),
    (display.score_intervals, EMPTY, {"label": "UAR"}),
    (display.waterfall, EMPTY, {"claim": 0.8, "chance": 0.1}),
    (display.learning_curves, {}, {}),
    (display.score_grid, EMPTY, {"failed": EMPTY, "label": "", "xlabel": "", "ylabel": ""}),
    (display.scores_with_intervals, EMPTY, {}),
    (display.robustness_curves, EMPTY, {}),
    (display.mean_attribution_map, EMPTY, {}),
    (display.contribution_heatmap, EMPTY, {}),
    (display.time_breakdown, pd.Series(dtype=float), {"label": "s"}),
    (display.probability_bars, pd.Series(dtype=float), {}),
    (display.clip_counts, EMPTY, {}),
    (display.boxes_by_emotion, EMPTY, {"column": "rms", "label": "RMS"}),
    (display.zcr_rms_scatter, EMPTY, {}),
]


@pytest.mark.parametrize(("draw", "data", "options"), DRAWING, ids=[row[0].__name__ for row in DRAWING])
def test_a_figure_without_data_is_drawn(draw, data, options):
    drawn = draw(data, **options)
    figure = getattr(drawn, "figure", None) or drawn
    assert display.encode_png(figure).startswith(b"\x89PNG")
    plt.close(figure)


def test_a_table_of_players_without_rows_says_so():
    html = display.audio_table([], caption="Nothing <to> play").data
    assert "no clips" in html and "Nothing &lt;to&gt; play" in html
