"""What an encoder is trained on and judged by."""

import logging

import pytest

from tests.helpers.colored_images import folders
from vl.encoding.config import RECIPES
from vl.encoding.training import open_splits

NAMES = ("blue", "green", "red")


@pytest.fixture
def photos(tmp_path):
    return folders(tmp_path / "photos", NAMES)


def found(data, development=None, *, share=0.0, seed=0, quiet=False, classes=()):
    return open_splits(
        data, development, development_share=share, seed=seed, quiet=quiet, classes=classes
    )


def test_all_is_trained_on_where_nothing_is_judged(photos):
    task = found(photos)
    assert task.training.classes == NAMES
    assert list(task.training.labels) == [0] * 4 + [1] * 4 + [2] * 4
    assert task.development is None


def test_a_share_is_put_aside(photos):
    task = found(photos, share=0.25)
    assert list(task.training.labels) == [0] * 3 + [1] * 3 + [2] * 3
    assert list(task.development.labels) == [0, 1, 2]
    assert not set(task.training.names) & set(task.development.names)


def test_classes_to_judge_by_are_known_by_their_names(photos, tmp_path):
    """One that is trained on may be missing; the others keep their numbers."""
    judged = folders(tmp_path / "judged", ("green", "red"), count=2)
    task = found(photos, judged)
    assert task.development.classes == NAMES
    assert list(task.development.labels) == [1, 1, 2, 2]
    assert task.development.read(3) == (judged / "red/1.png").read_bytes()
    assert len(task.training.labels) == 12


def test_a_class_to_judge_by_that_is_not_trained_on_is_refused(photos, tmp_path):
    judged = folders(tmp_path / "judged", ("green", "pink", "white"), count=1)
    with pytest.raises(
        ValueError, match=r"judged: 2 classes are not in .*photos, the first 'pink'"
    ):
        found(photos, judged)


def test_labels_are_places_in_the_classifier_s_classes_if_those_are_given(photos, tmp_path):
    classes = ("Red", "pink", "n00000001 blue, azure", "green")
    judged = folders(tmp_path / "judged", ("pink", "red"), count=2)
    task = found(photos, judged, classes=classes)
    assert task.training.classes == task.development.classes == classes
    assert list(task.training.labels) == [2] * 4 + [3] * 4 + [0] * 4
    assert list(task.development.labels) == [1, 1, 0, 0]
    assert task.training.read(4) == (photos / "green/0.png").read_bytes()
    task = found(photos, share=0.25, classes=classes)
    assert list(task.development.labels) == [2, 3, 0]
    one = folders(tmp_path / "one", ("red",))
    assert list(found(one, classes=classes).training.labels) == [0] * 4
    with pytest.raises(ValueError, match="red"):
        found(photos, classes=("blue", "green"))


def test_one_class_is_not_told_apart(tmp_path):
    with pytest.raises(ValueError, match="one class"):
        found(folders(tmp_path / "one", ("red",)))


def test_what_is_not_there_is_named(tmp_path, photos):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        found(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        found(photos, tmp_path / "nowhere")


def test_what_was_left_out_is_said_once_of_each(photos, tmp_path, caplog):
    judged = folders(tmp_path / "judged", ("green",), count=2)
    (photos / "red" / "notes.txt").write_text("x")
    (judged / "green" / "list.csv").write_text("x")
    with caplog.at_level(logging.WARNING):
        found(photos, judged, quiet=True)
        assert not caplog.records
        found(photos, judged)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "red/notes.txt" in messages[0]
    assert "green/list.csv" in messages[1]


def test_the_published_recipe_is_the_paper_s():
    """Szegedy et al. 2015, section 6: 4 % off the rate every 8 epochs; Polyak's mean."""
    recipe = RECIPES["published"]
    assert (recipe.schedule, recipe.decay_every, recipe.decay_factor) == ("staircase", 8, 0.96)
    assert recipe.ema_decay > 0
    assert recipe.label_smoothing == 0
