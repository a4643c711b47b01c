"""A labeller's file: what was written is read, and a damaged file is refused by name."""

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
from vl.labelling.labeller import Labeller
from vl.labelling.labeller_file import as_stored

LABELS = ["ball", "stop sign", "quokka", "guitar", "ring"]
MEAN = np.full(WIDTH, 0.1, np.float32)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


def full_labeller() -> Labeller:
    """With all parts that a file may have."""
    space = LabelSpace(words(), wordnet(), synonyms="mean", hypernym_weight=0.5, mean=MEAN)
    return labeller(
        space,
        views=("plain", "flip"),
        resize="center-crop",
        development=(Label("box"), Label("okapi", "n00000003")),
        training={"labels": 3},
    )


@pytest.fixture
def path(tmp_path):
    full_labeller().save(tmp_path / "labeller.safetensors")
    return tmp_path / "labeller.safetensors"


def saved(model, tmp_path) -> Labeller:
    """The same after writing and reading."""
    model.save(tmp_path / "saved.safetensors")
    return Labeller.load(tmp_path / "saved.safetensors")


def test_reads_what_was_written(path, tmp_path):
    model, read = full_labeller(), Labeller.load(path)
    assert read.space.words.words == WORDS
    np.testing.assert_allclose(read.space.words.matrix, words().matrix, atol=1e-3)
    assert (read.space.synonyms, read.space.hypernym_weight) == ("mean", 0.5)
    assert read.space.mean.tolist() == MEAN.tolist()
    assert read.space.wordnet.lemmas() == wordnet().lemmas()
    for synset in wordnet().ids:
        assert read.space.wordnet.children(synset) == wordnet().children(synset)
    assert (read.seen, read.development) == (SEEN, model.development)
    assert read.embedder.config() == model.embedder.config()
    assert read.training == {"labels": 3}
    assert read.calibration[:3] == model.calibration[:3]
    for one, other in zip(read.calibration[3:], model.calibration[3:], strict=True):
        assert torch.equal(one, other)
    paths = drawings(tmp_path / "images", 5)
    vectors = model.embedder(paths).mean(1)
    assert torch.equal(read.project(vectors), model.project(vectors))  # words alone are rounded
    for one, other in zip(model(paths, labels=LABELS), read(paths, labels=LABELS), strict=True):
        for label, same in zip(one.predictions, other.predictions, strict=True):
            assert label.text == same.text
            assert label.cosine == pytest.approx(same.cosine, abs=1e-3)
            assert label.probability == pytest.approx(same.probability, abs=5e-3)
    read.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_optional_parts(tmp_path):
    read = saved(labeller(calibration=None, seen=()), tmp_path)
    assert (read.calibration, read.space.wordnet, read.space.mean) == (None, None, None)
    assert (read.seen, read.development) == ((), ())
    flat = LabelSpace(words(), WordNet({"n00000001": ["ball", "orb"]}, []))  # without edges
    assert saved(labeller(flat), tmp_path).space.wordnet.lemmas() == {"n00000001": ("ball", "orb")}
    whole = calibration()._replace(temperature=1, seen_penalty=0)
    assert saved(labeller(calibration=whole), tmp_path).calibration[:3] == (1.0, 0.5, 0.0)


def test_both_projections(tmp_path):
    model = labeller()
    conse = Conse(image_width=Tiny.width, width=WIDTH, num_labels=4, top_k=2)
    torch.nn.init.normal_(conse.classifier.weight)
    conse.label_vectors.copy_(units(4, seed=8))
    both = Labeller(model.embedder, {**model.projections, "conse": conse}, model.space, seen=SEEN)
    vectors = torch.randn(3, Tiny.width)
    assert torch.equal(saved(both, tmp_path).project(vectors), both.project(vectors))
    assert not torch.equal(both.project(vectors), model.project(vectors))


def test_words_as_stored_come_back_exactly(tmp_path):
    random = units(50, seed=0).numpy()
    stored = as_stored(WordVectors([f"w{row}" for row in range(50)], random))
    assert not np.array_equal(stored.matrix, random)
    read = saved(labeller(LabelSpace(stored)), tmp_path)
    np.testing.assert_array_equal(read.space.words.matrix, stored.matrix)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_words_of_any_precision(path, dtype):
    alter(path, with_tensor("words.vectors", torch.from_numpy(words().matrix.copy()).to(dtype)))
    matrix = Labeller.load(path).space.words.matrix
    np.testing.assert_allclose(matrix, words().matrix, atol=1e-2)
    assert np.linalg.norm(matrix, axis=1) == pytest.approx(np.ones(len(matrix)), abs=1e-6)


def test_other_files_are_refused(path, tmp_path):
    captioner().save(tmp_path / "captioner.safetensors")
    with pytest.raises(FormatError, match=r"captioner\.safetensors.*kind"):
        Labeller.load(tmp_path / "captioner.safetensors")
    with pytest.raises(FileNotFoundError, match="none"):
        Labeller.load(tmp_path / "none.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(FormatError, match="not a whole"):
        Labeller.load(path)


def text(content: str | bytes) -> Tensor:
    raw = content.encode() if isinstance(content, str) else content
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def with_tensor(key, tensor):
    return lambda config, tensors: tensors.update({key: tensor})


def without(key):
    return lambda config, tensors: tensors.pop(key)


def setting(**values):
    return lambda config, tensors: config.update(values)


def first_value(key, value):
    def change(config, tensors):
        tensors[key] = tensors[key].clone()
        tensors[key].view(-1)[0] = value

    return change


def devise(**options):
    return setting(projections={"devise": {"image_width": 12, "width": 6, **options}})


def calibrated(**values):
    usual = {"temperature": 0.5, "seen_temperature": 0.5, "seen_penalty": 0.1}
    return setting(calibration={**usual, **values})


ZEROS = torch.zeros(len(WORDS), WIDTH)
DAMAGED = {  # the change, and a word of the error
    "no words": (without("words.text"), "words.text"),
    "NaN in a vector": (first_value("words.vectors", torch.nan), "words.vectors.*finite"),
    "beyond float32": (
        with_tensor("words.vectors", torch.full((9, 6), 1e300, dtype=torch.float64)),
        "words.vectors.*finite",
    ),
    "too few vectors": (with_tensor("words.vectors", ZEROS[:2] + 1), "9 words, 2 vectors"),
    "empty vectors": (with_tensor("words.vectors", ZEROS[:0]), r"\(0, 6\)"),
    "integer vectors": (with_tensor("words.vectors", ZEROS.long()), "floats"),
    "another width": (with_tensor("words.vectors", torch.full((9, 5), 5**-0.5)), "width 5"),
    "a repeated word": (with_tensor("words.text", text("\n".join(["a"] * 9))), "'a'"),
    "not UTF-8": (with_tensor("words.text", text(b"ball\xff")), "UTF-8"),
    "text of floats": (with_tensor("words.text", torch.zeros(9)), "UTF-8"),
    "a WordNet without edges' tensor": (without("wordnet.is_a"), "wordnet.is_a"),
    "edges without a WordNet": (without("wordnet.words"), "wordnet.is_a"),
    "a synset without a tab": (with_tensor("wordnet.words", text("n1 ball")), "wordnet"),
    "a repeated synset": (with_tensor("wordnet.words", text("n1\tball\nn1\tbox")), "twice"),
    "an unknown synset": (with_tensor("wordnet.is_a", text("n1 n2")), "'n1'"),
    "half an edge": (with_tensor("wordnet.is_a", text("n00000001")), "wordnet"),
    "a mean of another width": (with_tensor("space.mean", torch.zeros(5)), r"\(5,\)"),
    "NaN in the mean": (first_value("space.mean", torch.nan), "space.mean.*finite"),
    "a hypernym weight of 1": (setting(space={"synonyms": "first", "hypernym_weight": 1}), "is 1"),
    "unknown synonyms": (setting(space={"synonyms": "a", "hypernym_weight": 0}), "synonyms"),
    "a projection of no width": (devise(width=0), "projection.devise"),
    "a projection too large": (devise(image_width=10**9, width=10**6), "projection.devise"),
    "a projection of another width": (devise(width=5), "projection.weight"),
    "NaN in a projection": (
        first_value("projection.devise.projection.weight", torch.nan),
        "projection.weight.*finite",
    ),
    "an encoder that was changed": (first_value("encoder.body.0.bias", 3.0), "weights"),
    "a temperature of 0": (calibrated(temperature=0.0), "above 0"),
    "a penalty below 0": (calibrated(seen_penalty=-0.1), "at least 0"),
    "no reference labels": (without("calibration.reference_labels"), "reference_labels"),
    "a reference of length 3": (first_value("calibration.references", 3.0), "row 0"),
    "a reference label of NaN": (first_value("calibration.reference_labels", torch.nan), "finite"),
    "another number of references": (
        with_tensor("calibration.references", units(21, seed=1)),
        "differ in shape",
    ),
    "references without calibration": (setting(calibration=None), "calibration.reference"),
    "an unknown tensor": (with_tensor("words.a", torch.zeros(1)), "words.a"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_file_is_refused(path, damage):
    change, word = DAMAGED[damage]
    alter(path, change)
    with pytest.raises(FormatError, match=word) as caught:
        Labeller.load(path)
    assert str(path) in str(caught.value)


def test_references_of_another_width_are_refused(path):
    def change(config, tensors):
        for key in ("references", "reference_labels"):
            tensors[f"calibration.{key}"] = units(4, 5, seed=0)

    alter(path, change)
    with pytest.raises(FormatError, match=r"\(4, 5\)"):
        Labeller.load(path)


def test_every_part_of_the_configuration_is_checked(path):
    """Each alone: without it, and as something else, there is a FormatError and nothing else."""
    whole = path.read_bytes()
    stored = {}
    alter(path, lambda config, tensors: stored.update(json.loads(json.dumps(config))))
    valid = [("seen", []), ("development", []), ("training", {}), ("training", {"a": 1})]
    for key, current in stored.items():
        for value in (None, 3, "a", [], {}, [[]], {"a": 1}):
            if value == current or (key, value) in valid:
                continue
            path.write_bytes(whole)
            alter(path, setting(**{key: value}))
            with pytest.raises(FormatError):
                Labeller.load(path)
