"""Images to train and to validate on."""

import logging

import pytest

from tests.helpers.colored_images import folders
from vl.encoding.config import RECIPES
from vl.encoding.training import open_splits

NAMES = ("blue", "green", "red")


@pytest.fixture
def photos(tmp_path):
    return folders(tmp_path / "photos", NAMES)


def split(data, development=None, *, share=0.0, seed=0, quiet=False, classes=()):
    return open_splits(
        data, development, development_share=share, seed=seed, quiet=quiet, classes=classes
    )


def test_without_development_images(photos):
    splits = split(photos)
    assert splits.training.classes == NAMES
    assert list(splits.training.labels) == [0] * 4 + [1] * 4 + [2] * 4
    assert splits.development is None


def test_development_share(photos):
    splits = split(photos, share=0.25)
    assert list(splits.training.labels) == [0] * 3 + [1] * 3 + [2] * 3
    assert list(splits.development.labels) == [0, 1, 2]
    assert not set(splits.training.names) & set(splits.development.names)


def test_development_classes_are_matched_by_name(photos, tmp_path):
    """A class may have no development images; the others keep their indices."""
    development = folders(tmp_path / "development", ("green", "red"), count=2)
    splits = split(photos, development)
    assert splits.development.classes == NAMES
    assert list(splits.development.labels) == [1, 1, 2, 2]
    assert splits.development.read(3) == (development / "red/1.png").read_bytes()
    assert len(splits.training.labels) == 12


def test_refuses_development_classes_without_training_images(photos, tmp_path):
    development = folders(tmp_path / "development", ("green", "pink", "white"), count=1)
    with pytest.raises(
        ValueError, match=r"development: 2 classes are not in .*photos, the first 'pink'"
    ):
        split(photos, development)


def test_labels_index_the_classes_of_the_classifier(photos, tmp_path):
    classes = ("Red", "pink", "n00000001 blue, azure", "green")
    development = folders(tmp_path / "development", ("pink", "red"), count=2)
    splits = split(photos, development, classes=classes)
    assert splits.training.classes == splits.development.classes == classes
    assert list(splits.training.labels) == [2] * 4 + [3] * 4 + [0] * 4
    assert list(splits.development.labels) == [1, 1, 0, 0]
    assert splits.training.read(4) == (photos / "green/0.png").read_bytes()
    splits = split(photos, share=0.25, classes=classes)
    assert list(splits.development.labels) == [2, 3, 0]
    one = folders(tmp_path / "one", ("red",))
    assert list(split(one, classes=classes).training.labels) == [0] * 4
    with pytest.raises(ValueError, match="red"):
        split(photos, classes=("blue", "green"))


def test_refuses_one_class(tmp_path):
    with pytest.raises(ValueError, match="one class"):
        split(folders(tmp_path / "one", ("red",)))


def test_refuses_missing_data(tmp_path, photos):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        split(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        split(photos, tmp_path / "nowhere")


def test_what_was_left_out_is_said_once_of_each(photos, tmp_path, caplog):
    development = folders(tmp_path / "development", ("green",), count=2)
    (photos / "red" / "notes.txt").write_text("x")
    (development / "green" / "list.csv").write_text("x")
    with caplog.at_level(logging.WARNING):
        split(photos, development, quiet=True)
        assert not caplog.records
        split(photos, development)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "TXT" in messages[0]
    assert "CSV" in messages[1]


def test_the_published_recipe_is_the_paper_s():
    """Szegedy et al. 2015, section 6: 4 % off the rate every 8 epochs; Polyak's mean."""
    recipe = RECIPES["published"]
    assert (recipe.schedule, recipe.decay_every, recipe.decay_factor) == ("staircase", 8, 0.96)
    assert recipe.ema_decay > 0
    assert recipe.label_smoothing == 0
