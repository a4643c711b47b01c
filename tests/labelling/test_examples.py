"""Labelled images: their sources, embeddings, held-out labels, and the development split."""

import logging
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.helpers import colored_images as coloured
from tests.helpers.tiny_captioner import Tiny, embedder
from tests.helpers.tiny_labeller import write_embeddings
from vl.data.errors import FormatError
from vl.data.words.label_lists import LabelList
from vl.data.words.labels import Label
from vl.encoders.table import ENCODERS
from vl.encoding.embedding import embed_files
from vl.encoding.pretrained import load_encoder
from vl.labelling.examples import (
    EmbeddedExamples,
    Examples,
    embed_examples,
    load_embedder,
    load_examples,
    read_examples,
    split_examples,
)
from vl.labelling.recipe import EncoderConfig

OKAPI, RING, SOUND = "n00000003", "n00000006", "n00000007"
LEMMAS = {OKAPI: ["okapi", "forest giraffe"], RING: ["ring"], SOUND: ["ring", "ringing"]}


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def examples(counts, labels=None):
    """So many images of each label, the labels in turn."""
    labels = labels or [Label(f"label {index}") for index in range(len(counts))]
    targets = [i for turn in range(max(counts)) for i, count in enumerate(counts) if turn < count]
    names = tuple(f"{row}.jpg" for row in range(len(targets)))
    return Examples(names, tuple(map(Path, names)), tuple(targets), tuple(labels))


def split(counts, *, usable=None, development=0.25, seed=0):
    usable = usable or [True] * len(counts)
    return split_examples(examples(counts), usable, development=development, seed=seed)


def test_folders_and_lists(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    folder = touch(tmp_path / "one", "stop_sign/a.jpg", "okapi/b.jpg")
    touch(tmp_path / "other", "c.jpg", "d.jpg")
    listed = tmp_path / "other" / "list.txt"
    listed.write_text("c.jpg\tStop Sign\n\nd.jpg\tring, band\n")
    read = read_examples([folder, listed])
    assert read.names == ("okapi/b.jpg", "stop_sign/a.jpg", "c.jpg", "d.jpg")
    assert read.paths[2] == listed.parent / "c.jpg"
    assert read.targets == (0, 1, 1, 2)
    assert read.labels == (Label("okapi"), Label("stop sign"), Label("ring, band"))
    assert str(listed) in caplog.text  # the blank line is reported


def test_ids_and_names_are_one_label(tmp_path):
    one = touch(tmp_path / "one", f"{OKAPI}/a.jpg", f"{RING}_band/b.jpg", f"{SOUND}/c.jpg")
    other = touch(tmp_path / "other", "Okapi/d.jpg", "zebra/e.jpg")
    read = read_examples([one, other], lemmas=LEMMAS)
    assert read.labels == (
        Label("okapi, forest giraffe", OKAPI),
        Label("band", RING),
        Label("ring, ringing", SOUND),
        Label("zebra"),
    )
    assert read.targets == (0, 1, 2, 0, 3)
    reverse = read_examples([other, one], lemmas=LEMMAS)
    assert reverse.labels[:2] == (Label("Okapi", OKAPI), Label("zebra"))
    alike = read_examples([touch(tmp_path / "alike", "stop sign/a.jpg", "Stop_Sign/b.jpg")])
    assert (alike.labels, alike.targets) == ((Label("Stop Sign"),), (0, 0))


def test_invalid_sources_are_refused(tmp_path):
    folder = touch(tmp_path / "one", f"{OKAPI}/a.jpg", "zebra/e.jpg")
    for lemmas, word in ((None, "--wordnet"), ({}, "no such id")):
        with pytest.raises(ValueError, match=rf"one: class '{OKAPI}': .*{word}"):
            read_examples([folder], lemmas=lemmas)
    for again in (folder, folder / "zebra" / ".."):
        with pytest.raises(ValueError, match=r"'n00000003/a.jpg' is in .*one"):
            read_examples([folder, again], lemmas=LEMMAS)
    with pytest.raises(ValueError, match="class '_'"):
        read_examples([touch(tmp_path / "two", "_/a.jpg")])


def test_images_of_two_folders_may_have_one_name(tmp_path):
    folders = [touch(tmp_path / name, "zebra/1.jpg") for name in ("kitchen", "street")]
    read = read_examples(folders)
    assert read.paths == tuple(folder / "zebra/1.jpg" for folder in folders)
    with pytest.raises(ValueError, match=r"street: 'zebra/1\.jpg' is in .*kitchen"):
        read_examples(folders, embedded={"zebra/1.jpg"})  # which has only one of them


def test_list_of_embedded_images_needs_no_files(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("x/1.jpg\tring\n")
    assert read_examples([path], embedded={"x/1.jpg"}).names == ("x/1.jpg",)
    with pytest.raises(FileNotFoundError, match="x/1"):
        read_examples([path])


HELD = [Label("okapi, forest giraffe", OKAPI), Label("ring", RING), Label("ball")]


@pytest.mark.parametrize(
    ("lines", "excluded"),
    [
        ([("anything", OKAPI)], {0}),
        ([("ring", SOUND)], set()),  # another sense
        ([("ring", None)], {1}),
        ([("x, forest_giraffe", None)], {0}),
        ([("ball, orb", SOUND)], {2}),
        ([("okapi", None), ("x", RING)], {0, 1}),  # one has an id, the other has none
        ([("x", None), ("y", SOUND)], set()),
    ],
)
def test_hold_out_by_id_or_name(lines, excluded):
    before = examples([1, 2, 3], HELD)
    embedded = EmbeddedExamples(embedder(), before, torch.arange(6))
    held_out = LabelList(tuple(Label(*line) for line in lines))
    _, rest, rows, _ = embedded.without(held_out)
    kept = [index for index in range(3) if index not in excluded]
    assert rest.labels == tuple(HELD[index] for index in kept)
    assert Counter(rest.labels[i] for i in rest.targets) == {HELD[i]: i + 1 for i in kept}
    assert rest.names == tuple(before.names[row] for row in rows)
    for row, target in zip(rows, rest.targets, strict=True):
        assert before.labels[before.targets[row]] == rest.labels[target]


@pytest.mark.parametrize("development", [0.0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_image_of_a_usable_label_is_in_one_split(development, seed):
    counts = [1 + index % 7 for index in range(40)]
    usable = [index % 5 != 0 for index in range(40)]
    result = split(counts, usable=usable, development=development, seed=seed)
    targets = examples(counts).targets
    training, unseen = set(result.training), set(result.development)
    assert training | unseen == {index for index in range(40) if usable[index]}
    assert not training & unseen
    assert len(unseen) == round(development * 32)
    rows = [*result.training_rows, *result.seen_rows, *result.unseen_rows]
    assert sorted(rows) == [row for row, target in enumerate(targets) if usable[target]]
    assert {targets[row] for row in result.unseen_rows} == unseen
    assert {targets[row] for row in result.training_rows} == training  # every label has images
    in_development = Counter(targets[row] for row in result.seen_rows)
    for index in training:
        count, expected = counts[index], 0
        if development and count >= 3:
            expected = min(max(1, round(development * count)), count - 1)
        assert in_development[index] == expected


def test_seed_chooses_the_split():
    counts = [4] * 20
    assert split(counts) == split(counts)
    assert split(counts).development != split(counts, seed=1).development
    assert split(counts).seen_rows != split(counts, seed=1).seen_rows


@pytest.mark.parametrize(
    ("labels", "development", "expected"), [(4, 0.1, 2), (9, 0.01, 2), (30, 0.1, 3), (9, 0, 0)]
)
def test_at_least_two_labels_validate(labels, development, expected):
    result = split([1] * labels, development=development)
    assert (len(result.development), len(result.training)) == (expected, labels - expected)


@pytest.mark.parametrize(
    ("counts", "development"), [([1] * 3, 0.1), ([1] * 9, 0.9), ([1], 0), ([3, 0, 0], 0)]
)
def test_too_few_labels_are_refused(counts, development):
    with pytest.raises(ValueError, match="too few"):
        split(counts, development=development)


BOTH = ("plain", "flip")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)
    coloured.folders(tmp_path / "images", ["red", "blue"], count=3)
    coloured.weights(tmp_path / "weights")
    return tmp_path


def load(sources, **config):
    config = EncoderConfig(**{"encoder": "tiny", **config})
    model = load_embedder(config, device=torch.device("cpu"))
    return load_examples(model, sources, config.embeddings, lemmas=None, quiet=True)


def test_images_are_encoded_in_every_view(folder):
    embedded = load([folder / "images"], weights=folder / "weights", views=BOTH, resize="squash")
    assert embedded.vectors.shape == (6, 2, Tiny.width)
    assert (embedded.embedder.views, embedded.embedder.resize) == (BOTH, "squash")
    model = embedder(views=BOTH)
    alone = [
        embed_examples(embedded.examples.select([row]), model, quiet=True).vectors
        for row in range(6)
    ]
    assert torch.allclose(embedded.vectors, torch.cat(alone), atol=1e-5)
    assert not torch.is_inference(embedded.vectors)  # the projection is trained on them


def test_cached_embeddings_go_by_name(folder):
    model = embedder(
        encoder=load_encoder("tiny", folder / "weights"), views=BOTH, resize="center-crop"
    )
    write_embeddings(folder / "images.npy", folder / "images", model)
    (folder / "list.txt").write_text("red/2.png\tred\nblue/0.png\tblue\n")
    config = {"weights": folder / "weights", "embeddings": folder / "images.npy"}
    embedded = load([folder / "list.txt"], **config)
    assert (embedded.embedder.views, embedded.embedder.resize) == (BOTH, "center-crop")
    assert embedded.examples.names == ("red/2.png", "blue/0.png")
    examples = read_examples([folder / "images"])
    vectors = embed_examples(examples, model, quiet=True).vectors
    expected = vectors[[examples.names.index(name) for name in embedded.examples.names]]
    assert torch.allclose(embedded.vectors, expected, atol=1e-3)  # float16
    index = folder / "images.json"
    index.write_text(index.read_text().replace('"center-crop"', '"stretch"'))
    with pytest.raises(FormatError, match=r"images\.json.*stretch"):
        load([], **config)


def test_embeddings_of_another_embedder_are_refused(folder):
    model, images = embedder(views=BOTH), folder / "images"
    path = write_embeddings(folder / "a.npy", images, embedder(views=BOTH[::-1]))
    embedded = load_examples(model, [images], path, lemmas=None)  # a mean has no order
    assert embedded.vectors.shape == (6, 2, Tiny.width)
    coloured.folders(images, ["red"], count=1, first=9)
    with pytest.raises(ValueError, match=r"red/9\.png"):
        load_examples(model, [images], path, lemmas=None)
    for name, other, word in (
        ("views.npy", embedder(), "views plain"),
        ("crop.npy", embedder(views=BOTH, resize="center-crop"), "center-crop"),
        ("encoder.npy", embedder(1, views=BOTH), "encoder"),
    ):
        path = write_embeddings(folder / name, images, other)
        with pytest.raises(ValueError, match=rf"{name}.*{word}"):
            load_examples(model, [images], path, lemmas=None)
    with pytest.raises(ValueError, match="encoder"):
        load([], weights=folder / "weights", embeddings=folder / "encoder.npy")


def test_images_that_were_not_embedded_are_refused(folder):
    """Another folder's images of the same names, or changed ones."""
    model, other = embedder(), folder / "other"
    embed_files([folder / "images"], folder / "a.npy", model)
    embedded = load_examples(model, [folder / "images"], folder / "a.npy", lemmas=None)
    assert len(embedded.vectors) == 6
    shutil.copytree(folder / "images", other)
    load_examples(model, [other], folder / "a.npy", lemmas=None)  # of the same contents
    shutil.copyfile(other / "red/0.png", other / "red/1.png")
    with pytest.raises(ValueError, match=r"1 images are not .*other/red/1\.png.*vl embed"):
        load_examples(model, [other], folder / "a.npy", lemmas=None)


def test_unreadable_images_are_reported_and_left_out(folder, capsys, caplog):
    (folder / "images/red/0.png").write_bytes(b"")
    (folder / "images/blue/1.png").write_text("no image")
    before = read_examples([folder / "images"])
    after = embed_examples(before, embedder(batch_size=2))
    assert after.examples.names == ("blue/0.png", "blue/2.png", "red/1.png", "red/2.png")
    assert (after.examples.targets, after.examples.labels) == ((0, 0, 1, 1), before.labels)
    assert (after.vectors.shape, after.failed) == ((4, 1, Tiny.width), 2)
    assert "2 of 6" in caplog.text
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("images/")[1][:10] for line in lines[:2]] == ["blue/1.png", "red/0.png:"]
    for path in (folder / "images").rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="none of 6"):
        embed_examples(before, embedder(), quiet=True)


def test_held_out_images_go_with_their_vectors(folder, caplog):
    caplog.set_level("INFO")
    before = load([folder / "images"], weights=folder / "weights")
    rest = before.without(LabelList((Label("Red"), Label("zebra")), ("a note",)))
    assert rest.examples.labels == (Label("blue"),)
    assert torch.equal(rest.vectors, before.vectors[:3])
    assert "3 images of 1 labels; 2 are listed" in caplog.text
    assert "a note" in caplog.text
