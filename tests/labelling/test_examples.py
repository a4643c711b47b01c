"""Which labels and photographs are trained on: sources, what is held out, what is put aside."""

from collections import Counter
from pathlib import Path

import pytest

from vl.data.words.label_lists import LabelList
from vl.data.words.labels import Label
from vl.labelling.examples import Examples, outputs_of, read_examples, split, without

OKAPI, RING, OTHER = "n00000003", "n00000006", "n00000007"
NAMES = {OKAPI: ["okapi", "forest giraffe"], RING: ["ring"], OTHER: ["ring", "ringing"]}


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def examples(counts, labels=None):
    """So many photographs of each label, the labels taking turns."""
    labels = labels or [Label(f"label {number}", None) for number in range(len(counts))]
    order = [n for turn in range(max(counts)) for n, count in enumerate(counts) if turn < count]
    names = tuple(f"{row}.jpg" for row in range(len(order)))
    paths = tuple(Path(name) for name in names)
    return Examples(names, paths, tuple(order), tuple(labels), ())


def parted(counts, **choices):
    given = {"usable": [True] * len(counts), "share": 0.25, "seed": 0, **choices}
    return split(examples(counts), given.pop("usable"), **given)


def test_folders_and_lists_together(tmp_path):
    one = touch(tmp_path / "one", "stop_sign/a.jpg", "okapi/b.jpg")
    touch(tmp_path / "other", "c.jpg", "d.jpg")
    other = tmp_path / "other" / "list.txt"
    other.write_text("c.jpg\tStop Sign\n\nd.jpg\tring, band\n")
    found = read_examples([one, other])
    assert found.names == ("okapi/b.jpg", "stop_sign/a.jpg", "c.jpg", "d.jpg")
    assert found.paths[2] == other.parent / "c.jpg"
    assert found.of == (0, 1, 1, 2)
    texts = ("okapi", "stop sign", "ring, band")
    assert found.labels == tuple(Label(text, None) for text in texts)
    assert found.notes == (f"{other}: skipped 1 blank lines",)


def test_ids_get_the_words_of_wordnet_and_are_one_label_with_a_name(tmp_path):
    one = touch(tmp_path / "one", f"{OKAPI}/a.jpg", f"{RING}_band/b.jpg", f"{OTHER}/c.jpg")
    other = touch(tmp_path / "other", "Okapi/d.jpg", "zebra/e.jpg")
    found = read_examples([one, other], names=NAMES)
    assert found.labels == (
        Label("okapi, forest giraffe", OKAPI),
        Label("band", RING),
        Label("ring, ringing", OTHER),
        Label("zebra", None),
    )
    assert found.of == (0, 1, 2, 0, 3)
    turned = read_examples([other, one], names=NAMES)
    assert turned.labels[:2] == (Label("Okapi", OKAPI), Label("zebra", None))


def test_two_classes_that_look_alike_are_one_label_and_told(tmp_path):
    found = read_examples([touch(tmp_path, "stop sign/a.jpg", "Stop_Sign/b.jpg")])
    assert found.labels == (Label("Stop Sign", None),)
    assert found.of == (0, 0)
    (note,) = found.notes
    assert note.endswith(
        "'Stop_Sign' and 'stop sign' differ in capitals, blanks and underscores only"
    )


def test_what_cannot_be_read_is_named(tmp_path):
    folder = touch(tmp_path / "one", f"{OKAPI}/a.jpg", "zebra/e.jpg")
    with pytest.raises(ValueError, match=rf"one: class '{OKAPI}': .* without words; .*--wordnet"):
        read_examples([folder])
    with pytest.raises(ValueError, match=r"class 'n00000003': .* WordNet has no such id"):
        read_examples([folder], names={})
    with pytest.raises(ValueError, match=r"one: 'n00000003/a.jpg' is in .*one already"):
        read_examples([folder, folder], names=NAMES)
    with pytest.raises(ValueError, match="class '_': there is no label in ''"):
        read_examples([touch(tmp_path / "two", "_/a.jpg")])


def test_a_list_of_embedded_photographs_needs_no_files(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("x/1.jpg\tring\n")
    assert read_examples([path], embedded={"x/1.jpg"}).names == ("x/1.jpg",)
    with pytest.raises(FileNotFoundError, match="1 images do not exist: 'x/1"):
        read_examples([path])


HELD = [Label("okapi, forest giraffe", OKAPI), Label("ring", RING), Label("ball", None)]


@pytest.mark.parametrize(
    ("lines", "gone"),
    [
        ([("anything", OKAPI)], {0}),
        ([("ring", OTHER)], set()),  # another sense
        ([("ring", None)], {1}),
        ([("Forest  Giraffe", None)], {0}),
        ([("x, forest_giraffe", None)], {0}),
        ([("ball, orb", OTHER)], {2}),
        ([("okapi", None), ("x", RING)], {0, 1}),  # of one has an id, the other has none
        ([("x", None), ("y", OTHER)], set()),
    ],
)
def test_what_is_held_out_by_id_or_else_by_name(lines, gone):
    before = examples([1, 2, 3], HELD)
    rest = without(before, LabelList(tuple(Label(*line) for line in lines)))
    kept = [number for number in range(3) if number not in gone]
    assert rest.labels == tuple(HELD[number] for number in kept)
    assert Counter(rest.labels[n] for n in rest.of) == {HELD[n]: n + 1 for n in kept}
    for name, path, number in zip(rest.names, rest.paths, rest.of, strict=True):
        row = before.names.index(name)
        assert before.labels[before.of[row]] == rest.labels[number]
        assert before.paths[row] == path


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_photograph_of_a_usable_label_goes_one_way(share, seed):
    counts = [1 + number % 7 for number in range(40)]
    usable = [number % 5 != 0 for number in range(40)]
    parts = parted(counts, usable=usable, share=share, seed=seed)
    every = examples(counts)
    training, unseen = set(parts.training), set(parts.unseen)
    assert training | unseen == {number for number in range(40) if usable[number]}
    assert not training & unseen
    assert len(unseen) == round(share * 32)
    rows = [*parts.training_rows, *parts.seen_rows, *parts.unseen_rows]
    assert sorted(rows) == [row for row, number in enumerate(every.of) if usable[number]]
    assert {every.of[row] for row in parts.unseen_rows} == unseen
    assert {every.of[row] for row in parts.training_rows} == training  # none is without
    aside = Counter(every.of[row] for row in parts.seen_rows)
    for number in training:
        count, expected = counts[number], 0
        if share and count >= 3:
            expected = min(max(1, round(share * count)), count - 1)
        assert aside[number] == expected


def test_the_seed_says_which():
    counts = [4] * 20
    assert parted(counts) == parted(counts)
    assert parted(counts).unseen != parted(counts, seed=1).unseen
    assert parted(counts).seen_rows != parted(counts, seed=1).seen_rows


def test_labels_without_a_photograph_are_neither_trained_on_nor_put_aside():
    parts = parted([0, 2, 0, 2, 2, 2, 0, 2], share=0.4)
    assert sorted([*parts.training, *parts.unseen]) == [1, 3, 4, 5, 7]
    assert len(parts.unseen) == 2


@pytest.mark.parametrize(
    ("counts", "share", "message"),
    [
        ([1] * 3, 0.1, r"3 labels .* too few: at least 2 are trained on and 2 put aside \(--dev"),
        ([1] * 9, 0.9, "9 labels .* too few: at least 2 are trained on and 8 put aside"),
        ([1], 0, "1 labels with photographs and vectors are too few: at least 2 are trained on$"),
        ([3, 0, 0], 0, "1 labels with photographs"),
    ],
)
def test_too_few_labels_are_refused(counts, share, message):
    with pytest.raises(ValueError, match=message):
        parted(counts, share=share)


def test_labels_are_found_among_classes_by_id_or_first_name():
    labels = [
        Label("okapi, forest giraffe", OKAPI),
        Label("ring", RING),
        Label("Stop  Sign", None),
        Label("traffic sign, stop sign", None),
        Label("caf\u00e9", None),
    ]
    texts = ("ring, ringing", "ring", "okapi", "stop_sign, traffic_sign", "cafe\u0301")
    ids = (OTHER, RING, None, None, None)
    classes = LabelList(tuple(map(Label, texts, ids)))
    assert outputs_of(labels, classes) == [None, 1, 3, 3, 4]
    nameless = LabelList(tuple(map(Label, texts)))
    assert outputs_of(labels, nameless) == [2, 0, 3, 3, 4]


@pytest.mark.parametrize(
    ("labels", "share", "aside"), [(4, 0.1, 2), (9, 0.01, 2), (30, 0.1, 3), (9, 0, 0)]
)
def test_two_labels_at_least_are_put_aside(labels, share, aside):
    parts = split(examples([1] * labels), [True] * labels, share=share, seed=0)
    assert (len(parts.unseen), len(parts.training)) == (aside, labels - aside)
