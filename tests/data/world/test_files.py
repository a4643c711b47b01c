"""A drawn world's files: read by those who read COCO, lists and WordNet, and each agrees."""

import json

import pytest
from PIL import Image

from vl.data.captions.captions import check_disjoint, read_captions
from vl.data.errors import FormatError
from vl.data.labelled.folders import read_image_list
from vl.data.words.label_lists import read_label, read_label_file
from vl.data.words.wordnet import WordNet
from vl.data.world.captions import captions
from vl.data.world.files import (
    World,
    begin,
    draw_some,
    missing,
    picture_name,
    read_truth,
    write_split,
    write_words,
)
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import SPLITS, scene

COUNTS = dict(zip(SPLITS, (4, 2, 3, 2, 2), strict=True))
WORLD = World(COUNTS, 64, 5, 200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("world") / "w"
    begin(place, WORLD)
    write_words(place, WORLD)
    for split in SPLITS:
        assert draw_some(place, split, missing(place, split, WORLD), seed=5, side=64) > 0
        write_split(place, split, WORLD)
    return place


def test_captions_are_read_as_coco_and_are_the_scenes_own(folder):
    records = {split: read_captions(folder / f"captions-{split}.json") for split in SPLITS}
    for split, found in records.items():
        assert len(found) == COUNTS[split]
        for number, record in enumerate(found):
            assert record.file_name == picture_name(split, number)
            assert record.captions == captions(scene(split, number, seed=5))
            with Image.open(folder / "pictures" / split / record.file_name) as picture:
                assert picture.size == (64, 64)
    check_disjoint(records["training"], [*records["test"], *records["development"]])
    ids = [record.image_id for found in records.values() for record in found]
    assert len(set(ids)) == len(ids)


def test_lists_are_read_with_classes_that_are_synsets(folder):
    wordnet = WordNet.at(folder)
    for split in SPLITS:
        found = read_image_list(folder / f"{split}.txt")
        looks = read_image_list(folder / f"{split}-looks.txt")
        assert found.notes == ()
        assert len(found.photographs) == COUNTS[split]
        for number, (kind, look) in enumerate(zip(found.photographs, looks.photographs)):
            main = scene(split, number, seed=5).main
            word, synset = read_label(kind.label)
            assert word == main.kind
            assert main.kind in wordnet.words(synset)
            assert look.label == f"{main.colour} {main.kind}"
            assert kind.path == look.path


def test_lists_of_kinds_are_read_as_labels_and_by_wordnet(folder):
    wordnet = WordNet.at(folder)
    seen = read_label_file(folder / "kinds-seen.txt")
    assert [label.partition(",")[0] for label in seen.texts] == list(SEEN)
    hops = wordnet.hops(seen.synsets)
    for count in (2, 3):
        ids = wordnet.read_list(folder / f"kinds-unseen-{count}-hops.txt")
        assert {int(hops[row]) for row in wordnet.rows(ids)} == {count}


def test_the_truth_comes_back(folder):
    for split in SPLITS:
        found = read_truth(folder / f"truth-{split}.jsonl")
        expected = [scene(split, number, seed=5) for number in range(COUNTS[split])]
        assert list(found.values()) == expected
        assert list(found) == [picture_name(split, number) for number in range(COUNTS[split])]


def test_the_text_is_there(folder):
    text = (folder / "text.txt").read_text(encoding="utf-8")
    assert len(text.split()) >= 200
    assert text.endswith(".\n")


def test_nothing_is_left_beside(folder):
    assert [file.name for file in folder.rglob(".*")] == []


def test_a_split_without_pictures_has_no_files(tmp_path):
    world = World({**COUNTS, "test": 0}, 64, 5, 0)
    begin(tmp_path, world)
    write_split(tmp_path, "test", world)
    write_words(tmp_path, world)
    assert not [file for file in tmp_path.iterdir() if "test" in file.name]
    assert not (tmp_path / "text.txt").exists()


def test_what_a_killed_run_left_half_is_taken_away(folder, tmp_path):
    begin(tmp_path, WORLD)
    (tmp_path / "pictures" / "test").mkdir(parents=True)
    half = tmp_path / "pictures" / "test" / ".test-000001.jpg.x1.part"
    half.write_bytes(b"half")
    whole = tmp_path / "pictures" / "test" / picture_name("test", 2)
    whole.write_bytes(b"whole")
    begin(tmp_path, WORLD)
    assert not half.exists()
    assert missing(tmp_path, "test", WORLD) == [0, 1]


def test_a_picture_that_is_empty_after_a_loss_of_power_is_drawn_again(tmp_path):
    begin(tmp_path, WORLD)
    draw_some(tmp_path, "test", [0, 1], seed=5, side=64)
    lost = tmp_path / "pictures" / "test" / "test-000001.jpg"
    lost.write_bytes(b"")
    assert 1 in missing(tmp_path, "test", WORLD)
    assert 0 not in missing(tmp_path, "test", WORLD)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"seed": 6}, "seed 5 there and 6 here"),
        ({"side": 96}, "side 64 there and 96 here"),
        ({"words": 1}, "words 200 there and 1 here"),
        ({"pictures": {**COUNTS, "test": 9}}, "pictures {'training': 4,"),
    ],
)
def test_another_world_is_refused_in_one_sentence(folder, change, what):
    with pytest.raises(ValueError, match="it holds another world") as refused:
        begin(folder, WORLD._replace(**change))
    assert what in str(refused.value)
    assert str(refused.value).startswith(f"{folder}: ")


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(ValueError, match="not empty, and holds no drawn world"):
        begin(tmp_path, WORLD)
    assert [file.name for file in tmp_path.iterdir()] == ["diary.txt"]


def test_broken_settings_are_named(tmp_path):
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(FormatError, match=r"world\.json.*not JSON"):
        begin(tmp_path, WORLD)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "line 4: expected a picture and its scene"),
        ("{}", "line 4: expected a picture and its scene"),
        ("[]", "line 4: expected a picture and its scene"),
        ("", "line 4: expected a picture and its scene"),
        (None, "line 4: 'test-000000.jpg' is there twice"),
        (json.dumps({"picture": "a.jpg", "scene": {"groups": []}}), "line 4: expected"),
    ],
)
def test_a_broken_truth_is_named_with_its_line(folder, tmp_path, line, problem):
    text = (folder / "truth-test.jsonl").read_text()
    line = text.split("\n")[0] if line is None else line
    path = tmp_path / "truth.jsonl"
    path.write_text(f"{text}{line}\n")
    with pytest.raises(FormatError, match=problem):
        read_truth(path)


def test_an_empty_truth_is_refused(tmp_path):
    path = tmp_path / "truth.jsonl"
    path.write_text("")
    with pytest.raises(FormatError, match="there is no picture in it"):
        read_truth(path)
