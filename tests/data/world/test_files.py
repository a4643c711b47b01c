"""A drawn world's files: read as COCO captions, image lists and WordNet, and consistent."""

import json

import pytest
from PIL import Image

from vl.data.captions.captions import check_disjoint, read_captions
from vl.data.errors import FormatError
from vl.data.labelled.folders import read_image_list
from vl.data.words.label_lists import read_label, read_label_file
from vl.data.words.wordnet import WordNet
from vl.data.world.captions import scene_captions
from vl.data.world.files import World, draw_world, image_name, read_ground_truth
from vl.data.world.kinds import SEEN
from vl.data.world.scenes import SPLITS, sample_scene

COUNTS = dict(zip(SPLITS, (4, 2, 3, 2, 2), strict=True))
WORLD = World(COUNTS, 64, 5, 200)


def contents(folder):
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world") / "w"
    assert draw_world(folder, WORLD) == 0
    return folder


def test_captions_are_read_as_coco(folder):
    records = {split: read_captions(folder / f"captions-{split}.json") for split in SPLITS}
    for split in SPLITS:
        assert len(records[split]) == COUNTS[split]
        for index, record in enumerate(records[split]):
            assert record.file_name == image_name(split, index)
            assert record.captions == scene_captions(sample_scene(split, index, seed=5))
            with Image.open(folder / "pictures" / split / record.file_name) as image:
                assert image.size == (64, 64)
    check_disjoint(records["training"], [*records["test"], *records["development"]])
    ids = [record.image_id for split in SPLITS for record in records[split]]
    assert len(set(ids)) == len(ids)


def test_image_lists(folder):
    wordnet = WordNet.load(folder)
    for split in SPLITS:
        kinds = read_image_list(folder / f"{split}.txt")
        looks = read_image_list(folder / f"{split}-looks.txt")
        assert kinds.warnings == ()
        assert len(kinds.images) == COUNTS[split]
        for index, (kind, look) in enumerate(zip(kinds.images, looks.images)):
            main = sample_scene(split, index, seed=5).main
            label = read_label(kind.label)
            assert label.text == main.kind
            assert main.kind in wordnet.words(label.synset)
            assert look.label == f"{main.color} {main.kind}"
            assert kind.path == look.path


def test_lists_of_kinds(folder):
    wordnet = WordNet.load(folder)
    seen = read_label_file(folder / "kinds-seen.txt")
    assert [text.partition(",")[0] for text in seen.texts] == list(SEEN)
    hops = wordnet.hops(seen.synsets)
    for count in (2, 3):
        ids = wordnet.read_list(folder / f"kinds-unseen-{count}-hops.txt")
        assert {int(hops[row]) for row in wordnet.rows(ids)} == {count}


def test_ground_truth_is_read_back(folder):
    for split in SPLITS:
        expected = {
            image_name(split, index): sample_scene(split, index, seed=5)
            for index in range(COUNTS[split])
        }
        scenes = read_ground_truth(folder / f"truth-{split}.jsonl")
        assert list(scenes.items()) == list(expected.items())


def test_text(folder):
    text = (folder / "text.txt").read_text(encoding="utf-8")
    assert len(text.split()) >= 200
    assert text.endswith(".\n")


def test_empty_split_and_text_have_no_files(tmp_path):
    draw_world(tmp_path, World({**COUNTS, "test": 0}, 64, 5, 0))
    assert not [name for name in contents(tmp_path) if "test" in name or "text" in name]


def test_interrupted_run_is_resumed(folder, tmp_path):
    def interrupt(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        draw_world(tmp_path, WORLD, advance=interrupt)
    before = contents(tmp_path)
    count = sum(name.endswith(".jpg") for name in before)
    assert 0 < count < 13
    assert not any(name.startswith("captions") for name in before)
    (tmp_path / "pictures" / "training" / ".training-000001.jpg.x1.part").write_bytes(b"half")
    skipped = []
    assert draw_world(tmp_path, WORLD, skip=skipped.append) == count
    assert skipped == [count]
    assert contents(tmp_path) == contents(folder)


def test_empty_image_is_drawn_again(tmp_path):
    draw_world(tmp_path, WORLD)
    before = contents(tmp_path)  # a power failure may leave empty files
    (tmp_path / "pictures" / "test" / image_name("test", 1)).write_bytes(b"")
    assert draw_world(tmp_path, WORLD) == 12
    assert contents(tmp_path) == before
    times = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.jpg")}
    assert draw_world(tmp_path, WORLD) == 13
    assert {file: file.stat().st_mtime_ns for file in times} == times


@pytest.mark.slow
def test_processes_draw_the_same(tmp_path):
    world = World({"test": 200}, 64, 5, 0)
    counts = []
    draw_world(tmp_path / "a", world, num_workers=2, advance=counts.append)
    draw_world(tmp_path / "b", world, num_workers=1)
    assert sum(counts) == 200
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"seed": 6}, "seed"),
        ({"side": 96}, "side"),
        ({"num_words": 1}, "num_words"),
        ({"num_images": {**COUNTS, "test": 9}}, "num_images"),
    ],
)
def test_refuses_folder_of_another_world(folder, change, name):
    with pytest.raises(ValueError, match=f"another world .{name}"):
        draw_world(folder, WORLD._replace(**change))


def test_refuses_folder_of_something_else(tmp_path):
    (tmp_path / "diary.txt").write_text("dear diary")
    with pytest.raises(ValueError, match="not empty"):
        draw_world(tmp_path, WORLD)
    assert list(contents(tmp_path)) == ["diary.txt"]


def test_refuses_broken_settings(tmp_path):
    (tmp_path / "world.json").write_text("{")
    with pytest.raises(FormatError, match=r"world\.json.*JSON"):
        draw_world(tmp_path, WORLD)


@pytest.mark.parametrize(
    "line",
    ["{", "{}", "[]", "", None, json.dumps({"image": "a.jpg", "scene": {"groups": []}})],
)
def test_refuses_broken_or_repeated_line_of_ground_truth(folder, tmp_path, line):
    text = (folder / "truth-test.jsonl").read_text()
    line = text.split("\n")[0] if line is None else line
    path = tmp_path / "truth.jsonl"
    path.write_text(f"{text}{line}\n")
    with pytest.raises(FormatError, match=r"truth\.jsonl: line 4: "):
        read_ground_truth(path)
    path.write_text("")
    with pytest.raises(FormatError, match="no image"):
        read_ground_truth(path)
