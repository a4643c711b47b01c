"""A labeller's file: what was written is read, and a file that is not whole is refused by name."""

import json

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.tiny_captioner import Tiny, alter, captioner, drawings
from tests.helpers.tiny_labeller import (
    SEEN,
    WIDTH,
    WORDS,
    calibration,
    labeller,
    units,
    wordnet,
    words,
)
from vl.data.errors import FormatError
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.decoders.conse import Conse
from vl.encoders.table import ENCODERS
from vl.labelling import labeller_file as labeller_bundle
from vl.labelling.calibration import Calibration
from vl.labelling.labeller import Labeller
from vl.labelling.labeller_file import as_stored

LABELS = ["ball", "stop sign", "quokka", "guitar", "ring"]
CENTRE = np.full(WIDTH, 0.1, np.float32)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


def full_space() -> LabelSpace:
    return LabelSpace(words(), wordnet(), synonyms="mean", hypernym_weight=0.5, mean=CENTRE)


@pytest.fixture
def path(tmp_path):
    """A labeller's file with all parts that there are."""
    made = labeller(
        full_space(), views=("plain", "flip"), resize="center-crop", training={"labels": 3}
    )
    made.save(tmp_path / "labeller.safetensors")
    return tmp_path / "labeller.safetensors"


def test_what_was_written_is_read(path, tmp_path):
    made = labeller(
        full_space(), views=("plain", "flip"), resize="center-crop", training={"labels": 3}
    )
    read = Labeller.load(path)
    assert read.words.words == WORDS
    np.testing.assert_allclose(read.words.matrix, words().matrix, atol=1e-3)
    assert read.space.synonyms == "mean"
    assert read.space.hypernym_weight == 0.5
    assert read.space.wordnet.lemmas() == wordnet().lemmas()
    for name in wordnet().ids:
        assert read.space.wordnet.parents(name) == wordnet().parents(name)
    assert read.space.mean.tolist() == CENTRE.tolist()
    assert read.seen == SEEN
    assert (read.embedder.views, read.embedder.resize, read.embedder.encoder_name) == (
        ("plain", "flip"),
        "center-crop",
        "tiny",
    )
    assert read.training == {"labels": 3}
    assert read.calibration[:2] == made.calibration[:2]
    assert torch.equal(read.calibration.references, made.calibration.references)
    assert torch.equal(read.calibration.truths, made.calibration.truths)
    photos = drawings(tmp_path / "photos", 5)
    assert torch.equal(
        read.project(read.embedder(photos).mean(1)), made.project(made.embedder(photos).mean(1))
    )  # only words are rounded
    for one, other in zip(made(photos, labels=LABELS), read(photos, labels=LABELS), strict=True):
        for label, same in zip(one.labels, other.labels, strict=True):
            assert label.text == same.text
            assert label.cosine == pytest.approx(same.cosine, abs=1e-3)
            assert label.probability == pytest.approx(same.probability, abs=5e-3)


def test_a_second_writing_changes_nothing(path, tmp_path):
    again = tmp_path / "again.safetensors"
    Labeller.load(path).save(again)
    assert again.read_bytes() == path.read_bytes()


def test_parts_that_a_labeller_may_lack(tmp_path):
    plain = labeller(calibration=None, seen=())
    plain.save(tmp_path / "plain.safetensors")
    read = Labeller.load(tmp_path / "plain.safetensors")
    assert read.calibration is None
    assert read.space.wordnet is None
    assert read.space.mean is None
    assert read.seen == ()
    assert (read.embedder.views, read.embedder.resize) == (("plain",), "squash")


def test_both_projections_are_kept(tmp_path):
    made = labeller()
    conse = Conse(image_width=Tiny.width, width=WIDTH, num_labels=4, top_k=2)
    torch.nn.init.normal_(conse.classifier.weight)
    conse.label_vectors.copy_(units(4, seed=8))
    both = Labeller(
        made.embedder,
        {**made.projections, "conse": conse},
        made.space,
        seen=SEEN,
    )
    both.save(tmp_path / "both.safetensors")
    vectors = torch.randn(3, Tiny.width)
    read = Labeller.load(tmp_path / "both.safetensors")
    assert torch.equal(read.project(vectors), both.project(vectors))
    assert not torch.equal(read.project(vectors), made.project(vectors))


def test_a_wordnet_without_edges_is_kept(tmp_path):
    flat = LabelSpace(words(), WordNet({"n00000001": ["ball", "orb"]}, []))
    labeller(flat).save(tmp_path / "flat.safetensors")
    read = Labeller.load(tmp_path / "flat.safetensors")
    assert read.space.wordnet.lemmas() == {"n00000001": ("ball", "orb")}


def test_whole_numbers_of_a_calibration_are_kept(tmp_path):
    made = labeller(calibration=calibration()._replace(temperature=1, seen_penalty=0))
    made.save(tmp_path / "a.safetensors")
    assert Labeller.load(tmp_path / "a.safetensors").calibration[:3] == (1.0, 0.5, 0.0)


def test_another_kind_of_file_is_refused(path, tmp_path):
    captioner().save(tmp_path / "captioner.safetensors")
    with pytest.raises(FormatError, match="a bundle of kind 'captioner', not 'labeller'"):
        Labeller.load(tmp_path / "captioner.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        Labeller.load(tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match="not a whole safetensors file"):
        Labeller.load(path)


def text(content: str | bytes) -> Tensor:
    raw = content.encode() if isinstance(content, str) else content
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def with_tensor(key, tensor):
    return lambda configuration, tensors: tensors.update({key: tensor})


def without(key):
    return lambda configuration, tensors: tensors.pop(key)


def setting(**values):
    return lambda configuration, tensors: configuration.update(values)


def number_at(key, value):
    def change(configuration, tensors):
        tensors[key] = tensors[key].clone()
        tensors[key].view(-1)[0] = value

    return change


FLAT = torch.zeros(len(WORDS), WIDTH)
HOSTILE = {
    "words without a text": (without("words.text"), "words.text: missing"),
    "words without vectors": (without("words.vectors"), "words.vectors: missing"),
    "a vector of NaN": (number_at("words.vectors", torch.nan), "words.vectors: .*not finite"),
    "an endless vector": (number_at("words.vectors", torch.inf), "words.vectors: .*not finite"),
    "beyond float32": (
        with_tensor("words.vectors", torch.full((len(WORDS), WIDTH), 1e300, dtype=torch.float64)),
        "words.vectors: .*not finite",
    ),
    "vectors of length 0": (with_tensor("words.vectors", FLAT), "'ball' has length 0"),
    "fewer vectors": (with_tensor("words.vectors", FLAT[:2] + 1), "9 words, 2 vectors"),
    "no vectors": (with_tensor("words.vectors", FLAT[:0]), r"found \(0, 6\)"),
    "flat vectors": (with_tensor("words.vectors", FLAT.flatten()), r"found \(54,\)"),
    "whole vectors": (with_tensor("words.vectors", FLAT.long()), "expected numbers in 2"),
    "a word twice": (with_tensor("words.text", text("\n".join(["a"] * 9))), "'a' is there 9 ti"),
    "not UTF-8": (with_tensor("words.text", text(b"ball\xff")), "words.text: not text in UTF-8"),
    "text of floats": (with_tensor("words.text", torch.zeros(9)), "words.text: not text in UTF"),
    "another width": (
        with_tensor("words.vectors", torch.full((9, 5), 5**-0.5)),
        "the mean has shape|leads to width 6, the words have width 5",
    ),
    "text in a table": (
        with_tensor("words.text", torch.zeros(9, 1, dtype=torch.uint8)),
        "words.text: not text in UTF-8",
    ),
    "a WordNet without edges' tensor": (without("wordnet.is_a"), "wordnet.is_a: missing"),
    "edges without a WordNet": (without("wordnet.words"), "wordnet.is_a: not a part"),
    "a WordNet that is not text": (
        with_tensor("wordnet.words", text(b"\xff")),
        "wordnet.words: not text",
    ),
    "a synset without a tab": (with_tensor("wordnet.words", text("n1 ball")), r"wordnet\.\*"),
    "a synset twice": (
        with_tensor("wordnet.words", text("n1\tball\nn1\tbox")),
        r"wordnet\.\*: a synset is there twice",
    ),
    "an unknown synset": (with_tensor("wordnet.is_a", text("n1 n2")), "'n1' has no words"),
    "half an edge": (with_tensor("wordnet.is_a", text("n00000001")), r"wordnet\.\*"),
    "a circle": (
        with_tensor("wordnet.is_a", text("n00000001 n00000002\nn00000002 n00000001")),
        "closes a cycle",
    ),
    "a centre of another width": (
        with_tensor("space.mean", torch.zeros(5)),
        r"the mean has shape \(5,\)",
    ),
    "a centre of no width": (with_tensor("space.mean", torch.zeros(())), "the mean has shape"),
    "a centre of NaN": (number_at("space.mean", torch.nan), "space.mean: .*not finite"),
    "space missing": (setting(space=None), "'space'"),
    "space a list": (setting(space=[]), "'space'"),
    "space without kinds": (
        setting(space={"synonyms": "first"}),
        "expected hypernym_weight and synonyms",
    ),
    "kinds of text": (
        setting(space={"synonyms": "first", "hypernym_weight": "0"}),
        "expected hypernym_weight and",
    ),
    "kinds of 1": (
        setting(space={"synonyms": "first", "hypernym_weight": 1}),
        "from 0 to less than 1",
    ),
    "kinds of NaN": (
        setting(space={"synonyms": "first", "hypernym_weight": np.nan}),
        "from 0 to less",
    ),
    "synonyms of a list": (
        setting(space={"synonyms": ["first"], "hypernym_weight": 0}),
        "it must be 'fir",
    ),
    "seen a number": (setting(seen=3), "'seen'"),
    "seen a text": (setting(seen=["ball"]), "expected a label and its synset, not 'ball'"),
    "seen of three": (setting(seen=[["a", "b", "c"]]), "expected a label and its synset"),
    "seen of numbers": (setting(seen=[["a", 1]]), "expected a label and its synset"),
    "training a list": (setting(training=[]), "'training'"),
    "no embedder": (setting(embedder=None), "'embedder'"),
    "an encoder that was changed": (
        number_at("encoder.body.0.bias", 3.0),
        "not those it was made with",
    ),
    "projections missing": (setting(projections=None), "'projections'"),
    "no projections": (setting(projections={}), "projection.devise"),
    "an unknown projection": (setting(projections={"x": {}}), "projection"),
    "a projection that is a list": (setting(projections={"devise": []}), "projection.devise"),
    "a projection of no width": (
        setting(projections={"devise": {"image_width": 12, "width": 0}}),
        "projection.devise: cannot be built: every width",
    ),
    "a projection of text": (
        setting(projections={"devise": {"image_width": "a", "width": 6}}),
        "projection.devise: cannot be built",
    ),
    "a projection without end": (
        setting(projections={"devise": {"image_width": 10**30, "width": 6}}),
        "projection.devise",
    ),
    "a projection too large": (
        setting(projections={"devise": {"image_width": 10**9, "width": 10**6}}),
        "projection.devise",
    ),
    "a projection of another width": (
        setting(projections={"devise": {"image_width": 12, "width": 5}}),
        "projection.devise.projection.weight: expected",
    ),
    "a projection of NaN": (
        number_at("projection.devise.projection.weight", torch.nan),
        "projection.devise.projection.weight: .*not finite",
    ),
    "a calibration of text": (setting(calibration="0.1"), "expected temperatures above 0"),
    "references missing": (without("calibration.references"), "calibration.references: missing"),
    "truths missing": (without("calibration.truths"), "calibration.truths: missing"),
    "references of NaN": (number_at("calibration.references", torch.nan), "not finite"),
    "references of any length": (number_at("calibration.references", 3.0), "row 0 has length"),
    "truths of any length": (number_at("calibration.truths", 3.0), "truths: row 0 has length"),
    "more references": (
        with_tensor("calibration.references", units(21, seed=1)),
        "references and truths differ in shape",
    ),
    "references of no calibration": (
        setting(calibration=None),
        "tensor calibration.references: not a part",
    ),
    "a tensor more": (with_tensor("more.a", torch.zeros(1)), "more.a: not a part"),
    "a tensor of words more": (with_tensor("words.a", torch.zeros(1)), "words.a: not a part"),
    "the wrong kind": (setting(kind="captioner"), "a bundle of kind 'captioner', not 'labeller'"),
    "another version": (setting(format=2), "bundle format 2"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_that_is_not_whole_is_refused(path, what):
    change, message = HOSTILE[what]
    alter(path, change)
    with pytest.raises(FormatError, match=message) as caught:
        Labeller.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("temperature", "seen_penalty"),
    [
        *((value, 0.1) for value in (0.0, -1.0, np.nan, np.inf, 1, "1", None, True)),
        *((0.1, value) for value in (-0.1, np.nan, np.inf, 0, "0", None)),
    ],
)
def test_numbers_of_a_calibration_are_checked(path, temperature, seen_penalty):
    alter(
        path,
        setting(
            calibration={
                "temperature": temperature,
                "seen_temperature": 1.0,
                "handicap": seen_penalty,
            }
        ),
    )
    with pytest.raises(FormatError, match="expected temperatures above 0 and a handicap of 0"):
        Labeller.load(path)


def test_references_of_another_width_are_refused(path):
    def change(configuration, tensors):
        tensors["calibration.references"] = units(4, 5, seed=0)
        tensors["calibration.truths"] = units(4, 5, seed=1)

    alter(path, change)
    with pytest.raises(FormatError, match=r"references have shape \(4, 5\), the words width 6"):
        Labeller.load(path)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32, torch.float64])
def test_words_may_be_of_any_precision(path, kind):
    alter(path, with_tensor("words.vectors", torch.from_numpy(words().matrix.copy()).to(kind)))
    found = Labeller.load(path).words.matrix
    np.testing.assert_allclose(found, words().matrix, atol=1e-2)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(found)), abs=1e-6)


def test_every_part_of_the_configuration_is_wanted(path):
    """Each alone: without it, and as something else, there is a FormatError and nothing else."""
    whole = path.read_bytes()
    configuration = {}
    alter(path, lambda held, tensors: configuration.update(json.loads(json.dumps(held))))
    for key in configuration:
        for value in (None, 3, "a", [], {}, [[]], {"a": 1}):
            if value == configuration[key] or (key, value) in (
                ("seen", []),
                ("training", {}),
                ("training", {"a": 1}),
            ):
                continue
            path.write_bytes(whole)
            alter(path, setting(**{key: value}))
            with pytest.raises(FormatError):
                Labeller.load(path)


def test_what_read_gives_is_what_write_took(path, tmp_path):
    parts = labeller_bundle.read(path)
    assert isinstance(parts.calibration, Calibration)
    labeller_bundle.write(tmp_path / "b.safetensors", parts)
    assert (tmp_path / "b.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("seen_temperature", [0.0, -1.0, np.nan, np.inf, 1, None])
def test_the_temperature_of_seen_labels_is_checked(path, seen_temperature):
    numbers = {"temperature": 1.0, "seen_temperature": seen_temperature, "handicap": 0.1}
    alter(path, setting(calibration=numbers))
    with pytest.raises(FormatError, match="expected temperatures above 0"):
        Labeller.load(path)


def test_words_as_stored_come_back_as_they_are(tmp_path):
    drawn = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    stored = as_stored(WordVectors([f"w{row}" for row in range(50)], drawn))
    assert not np.array_equal(stored.matrix, drawn)
    made = labeller(space=LabelSpace(stored))
    made.save(tmp_path / "a.safetensors")
    loaded = Labeller.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(loaded.words.matrix, stored.matrix)


def test_labels_put_aside_are_kept(tmp_path):
    made = labeller(aside=(Label("box", None), Label("okapi", "n00000003")))
    made.save(tmp_path / "a.safetensors")
    loaded = Labeller.load(tmp_path / "a.safetensors")
    assert loaded.aside == made.aside
    assert loaded.is_aside("Box") and loaded.is_aside("giraffe", "n00000003")
    assert not loaded.is_aside("ball")
