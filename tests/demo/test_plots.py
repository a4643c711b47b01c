"""Plots of training logs and of word vectors in two dimensions."""

import json
import subprocess
import sys

import numpy as np
import pytest

from vl.data.words.vectors import WordVectors
from vl.data.world.kinds import KINDS, ancestors
from vl.demo.plots import plot_training, plot_word_space

LOG = [
    {"step": 20, "epoch": 0.5, "loss": 2.5, "gradient_norm": 1.0, "seconds": 0.1},
    {"step": 40, "epoch": 1.0, "loss": 1.5, "gradient_norm": 1.0, "seconds": 0.2},
    {
        "step": 40,
        "score": 30.0,
        "development/loss": 1.75,
        "development/bleu-4": 30.0,
        "development/distinct": 0.5,
    },
]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LOG), encoding="utf-8")
    return path


def word_vectors(count):
    """Vectors of the first kinds' last synonyms, near those of their family."""
    generator = np.random.default_rng(count)
    centers = {
        name: generator.standard_normal(8) for kind in KINDS for name in ancestors(kind.name)
    }
    rows = [
        centers[ancestors(kind.name)[-3]] + 0.4 * generator.standard_normal(8) for kind in KINDS
    ]
    matrix = np.array(rows[:count], np.float32)
    matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
    return WordVectors([kind.words[-1] for kind in KINDS[:count]], matrix)


def test_training_curves_are_the_logs(log):
    plots = plot_training(log)
    assert [plot.alt for plot in plots] == [
        "loss by step; at the end training 1.5, development 1.75",
        "development by step; at the end bleu-4 30",
        "development, fractions by step; at the end distinct 0.5",
    ]
    for plot in plots:
        assert b"#e9e9ec" in plot.dark
        assert b"#e9e9ec" not in plot.light
        assert b"#1d1d1f" in plot.light


@pytest.mark.parametrize(
    ("line", "alt"),
    [
        ('{"step": 5, "development/loss": NaN}', "development nan"),
        ('{"step": 5, "loss": 2.0}', "training 2"),
    ],
)
def test_missing_curves_are_not_plotted(log, line, alt):
    log.write_text(line, encoding="utf-8")
    (plot,) = plot_training(log)
    assert plot.alt == f"loss by step; at the end {alt}"


def test_word_space_finds_kinds_by_synonyms_and_names_missing_ones():
    plot, note = plot_word_space(word_vectors(20))  # "mug" is there, "cup" is not
    assert plot is not None
    assert "cup" in plot.alt
    assert plot.alt.endswith(", " + KINDS[19].name)
    assert f"Without a vector: {', '.join(kind.name for kind in KINDS[20:])}." in note
    assert "width 8" in note
    plot, note = plot_word_space(word_vectors(2))
    assert plot is None
    assert "Without a vector: whale" in note


def test_word_space_has_every_kind_and_family():
    plot, _ = plot_word_space(word_vectors(34))
    assert plot is not None
    text = plot.light.decode()
    for name in {name for kind in KINDS for name in (kind.name, ancestors(kind.name)[-3])}:
        assert f"<!-- {name} -->" in text


def test_matplotlib_is_imported_only_when_plotting():
    code = "import sys, vl.demo.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
