"""`vl train labeller`: labelled images and word vectors to a labeller, and what is refused."""

import json
import re

import numpy as np
import pytest
import torch

from tests.helpers import colored_images as coloured
from tests.helpers.colored_images import COLOURS, IDS
from tests.helpers.tiny_captioner import Tiny, embedder
from tests.helpers.tiny_labeller import write_embeddings
from vl import bundle
from vl.__main__ import main
from vl.data.words.labels import Label
from vl.encoders.table import ENCODERS
from vl.encoding.pretrained import load_encoder
from vl.labelling.labeller import Labeller

NAMES = tuple(COLOURS)
WORDS = ("--word-vectors", "words.txt")
ENCODER = ("--weights", "weights", "--encoder", "tiny", "--views", "plain")
QUICK = ("--epochs", "16", "--learning-rate", "0.1", "--loss", "full", "--batch-size", "8")
NO_DEVELOPMENT = ("--development-share", "0")
DEVELOPMENT = ("--development-share", "0.25")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(ENCODERS, "tiny", Tiny)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with images of colors, word vectors, and weights."""
    monkeypatch.chdir(tmp_path)
    coloured.folders(tmp_path / "images")
    coloured.words(tmp_path / "words.txt")
    coloured.weights(tmp_path / "weights")
    return tmp_path


def train(*flags, images=("images",), common=(*WORDS, *ENCODER, *QUICK)):
    return main(["train", "labeller", *map(str, [*images, *common, *flags])])


def trained(*flags, output="run", **options):
    assert train("--output-dir", output, *flags, **options) == 0
    return Labeller.load(f"{output}/labeller.safetensors")


def refused(capsys, word, *flags, **options):
    capsys.readouterr()
    assert train("--output-dir", "run", *flags, **options) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert word in stderr


def accuracy(labeller, folder, names=NAMES):
    """Fraction of images in folders whose first label is the folder's."""
    hits = []
    for name in names:
        answers = labeller(sorted((folder / name).glob("*.png")), labels=names)
        hits += [answer.predictions[0].text == name for answer in answers]
    return sum(hits) / len(hits)


def weight(labeller):
    return labeller.projections["devise"].projection.weight


def log_lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("method", ["devise", "conse", "both"])
def test_labeller_knows_its_training_images(folder, capsys, method):
    labeller = trained("--method", method, *NO_DEVELOPMENT)
    stdout, stderr = capsys.readouterr()
    assert stdout == "run/labeller.safetensors\n"
    assert "32 images of 8 labels" in stderr
    assert set(labeller.projections) == ({"devise", "conse"} if method == "both" else {method})
    assert accuracy(labeller, folder / "images") == 1
    assert labeller.calibration is None
    assert (labeller.embedder.views, labeller.embedder.resize) == (("plain",), "center-crop")
    assert set(labeller.seen) == {Label(name) for name in NAMES}
    assert (labeller.training["images"], labeller.training["labels"]) == (32, 8)
    assert labeller.training["settings"]["method"] == method
    if method == "conse":  # what is trained on is what the file holds
        vectors = labeller.space.embed([label.text for label in labeller.seen]).vectors
        np.testing.assert_array_equal(labeller.projections["conse"].label_vectors, vectors)


@pytest.mark.parametrize(
    ("loss", "optimizer", "rate"),
    [("full", "adam", 0.05), ("first", "adagrad", 0.2), ("first", "adam", 0.05)],
)
def test_losses_and_optimizers(folder, loss, optimizer, rate):
    flags = ["--loss", loss, "--optimizer", optimizer, "--learning-rate", rate, "--epochs", 20]
    common = [*WORDS, *ENCODER, "--batch-size", 8]
    assert accuracy(trained(*flags, *NO_DEVELOPMENT, common=common), folder / "images") == 1


def test_standardization(folder):
    standardized, raw = (
        trained(*NO_DEVELOPMENT),
        trained("--no-standardize", *NO_DEVELOPMENT, output="raw"),
    )
    assert standardized.projections["devise"].image_mean.abs().sum() > 0
    assert raw.projections["devise"].image_mean.abs().sum() == 0


def test_conse_by_the_encoder_s_own_classifier(folder, capsys):
    (folder / "classes.txt").write_text("\n".join(NAMES[:5]) + "\n")
    flags = ["--method", "conse", "--classes", "classes.txt", *NO_DEVELOPMENT]
    labeller = trained(*flags)
    assert "5 of 8 training labels" in capsys.readouterr().err
    assert labeller.projections["conse"].label_vectors.shape == (5, coloured.WIDTH)
    assert accuracy(labeller, folder / "images", NAMES[:5]) == 1
    (folder / "classes.txt").write_text("red\ngreen\n")  # refused before the training
    flags = ["--method", "both", "--classes", "classes.txt", "--output-dir", "other"]
    refused(capsys, "2 classes", *flags, *NO_DEVELOPMENT)
    assert not (folder / "other").exists()


def test_development_labels_calibrate(folder, capsys):
    labeller = trained(*DEVELOPMENT)
    stderr = capsys.readouterr().err
    assert "18 images of 6 labels; development split: 8 images of 2 other labels and 6" in stderr
    assert "best of" in stderr
    names = [label.text for label in labeller.development]
    assert sorted(names) == sorted(set(NAMES) - {label.text for label in labeller.seen})
    paths = [path for name in names for path in sorted((folder / "images" / name).glob("*"))]
    expected = labeller.project(labeller.embedder(paths).mean(1))
    references = labeller.calibration.references
    order = [int((expected @ reference).argmax()) for reference in references]
    assert sorted(order) == list(range(8))
    assert torch.allclose(references, expected[order], atol=1e-5)
    keys = {key for line in log_lines(folder / "run") for key in line}
    assert {"development/hit@1", "development/mrr"} <= keys


def test_labeller_has_the_best_projection(folder, capsys):
    flags = ["--patience", 3, "--margin", 1, "--learning-rate", 0.02, "--epochs", 6]
    best = weight(trained(*DEVELOPMENT, *flags))
    match = re.search(r"best of (\d+) epochs: (\d+) ", capsys.readouterr().err)
    assert match
    assert int(match[2]) < int(match[1])
    last = torch.load("run/state.pt", weights_only=True)["model"]["devise.projection.weight"]
    assert not torch.equal(best, last)
    stored = bundle.read("run/best.safetensors", kind="labeller training")
    assert torch.equal(best, stored.tensors["task.devise.projection.weight"])


def test_seed_decides_the_file(folder):
    for output, seed in (("one", 3), ("two", 3), ("three", 4)):
        trained("--method", "both", "--seed", seed, *DEVELOPMENT, output=output)
    files = [folder / name / "labeller.safetensors" for name in ("one", "two", "three")]
    one, two, three = (file.read_bytes() for file in files)
    assert one == two != three
    alone = trained("--seed", 3, *DEVELOPMENT, output="alone")  # the same without ConSE
    assert torch.equal(weight(alone), weight(Labeller.load(files[0])))


def test_embeddings_replace_encoding(folder):
    views, common = ("plain", "flip"), (*WORDS, *ENCODER[:4], *QUICK)
    weights = load_encoder("tiny", folder / "weights")
    model = embedder(encoder=weights, views=views, resize="center-crop")
    write_embeddings(folder / "images.npy", folder / "images", model)
    encoded = trained("--views", *views, *NO_DEVELOPMENT, common=common)
    flags = ["--embeddings", "images.npy", *NO_DEVELOPMENT]
    cached = trained(*flags, common=common, output="cached")
    assert cached.embedder.views == views
    assert accuracy(cached, folder / "images") == 1
    pair = (weight(encoded).flatten(), weight(cached).flatten())
    assert torch.nn.functional.cosine_similarity(*pair, dim=0) > 0.99  # a cache is float16


def test_held_out_labels_are_in_no_split(folder, capsys):
    (folder / "held.txt").write_text("RED\nlemon, yellow\npurple\n")
    labeller = trained("--held-out", "held.txt", "--development-share", "0.34")
    assert "held out: 8 images of 2 labels; 3 are listed" in capsys.readouterr().err
    assert not labeller.is_seen(Label("red"))
    assert not labeller.is_seen(Label("yellow"))
    vectors = torch.from_numpy(labeller.space.embed(["red", "yellow"]).vectors)
    assert (labeller.calibration.reference_labels @ vectors.T).max() < 0.999


def test_ids_and_names_of_two_sources_are_one_label(folder, capsys):
    coloured.wordnet(folder / "wordnet")
    coloured.folders(folder / "more", count=2, first=50)
    coloured.listed(folder / "list.txt", folder / "more")
    sources = ["images", "list.txt"]
    flags = ["--wordnet", "wordnet", "--method", "conse", *NO_DEVELOPMENT]
    labeller = trained(*flags, images=sources)
    assert "48 images of 8 labels" in capsys.readouterr().err
    assert set(labeller.seen) == {Label(name, IDS[name]) for name in NAMES}
    (folder / "held.txt").write_text(f"{IDS['red']} rot\nblue\n")
    labeller = trained(*flags, "--held-out", "held.txt", images=sources, output="other")
    assert not labeller.is_seen(Label("red", IDS["red"]))
    assert len(labeller.seen) == 6
    refused(capsys, "without words", images=["list.txt"])  # without a WordNet


def test_unreadable_images_and_labels_without_vectors_are_left_out(folder, capsys):
    for path in (folder / "images/blue").iterdir():
        path.write_bytes(b"")
    coloured.words(folder / "fewer.txt", NAMES[:7])
    labeller = trained(*DEVELOPMENT, common=["--word-vectors", "fewer.txt", *ENCODER, *QUICK])
    stderr = capsys.readouterr().err
    assert "4 of 32" in stderr
    assert "no vector: pink" in stderr
    known = {label.text for label in (*labeller.seen, *labeller.development)}
    assert known == set(NAMES[:7]) - {"blue"}


@pytest.mark.parametrize("count", [1, 3])
def test_two_labels_of_few_images_suffice(folder, count):
    coloured.folders(folder / "two", NAMES[:2], count=count)
    labeller = trained("--method", "both", *NO_DEVELOPMENT, images=["two"])
    assert accuracy(labeller, folder / "two", NAMES[:2]) == 1


def test_folder_in_use_is_refused(folder, capsys):
    trained(*DEVELOPMENT)
    file = folder / "run/labeller.safetensors"
    before = file.read_bytes()
    refused(capsys, "labeller.safetensors", "--method", "conse", *DEVELOPMENT)
    refused(capsys, "--resume", *DEVELOPMENT)
    assert file.read_bytes() == before
    file.unlink()
    trained(*DEVELOPMENT, "--resume")  # a finished run gives the same file again
    assert file.read_bytes() == before


def test_label_space(folder, capsys):
    coloured.wordnet(folder / "wordnet")
    hypernyms = ["--wordnet", "wordnet", "--hypernym-weight", 0.5, "--subtract-mean"]
    labeller = trained(*hypernyms, *NO_DEVELOPMENT)
    assert labeller.space.hypernym_weight == 0.5
    assert labeller.space.wordnet is not None
    assert labeller.space.mean is not None
    assert accuracy(labeller, folder / "images") == 1
    limited = trained("--limit-words", 4, *NO_DEVELOPMENT, output="limited")
    assert limited.space.words.words == NAMES[:4]
    random = trained("--random-word-vectors", *NO_DEVELOPMENT, output="random")
    assert random.space.words.words == NAMES
    assert accuracy(random, folder / "images") == 1
    cosines = random.space.words.matrix @ labeller.space.words.matrix.T
    assert cosines.diagonal().max() < 0.99


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--epochs", 0], "--epochs is 0"),
        (["--batch-size", 0], "--batch-size is 0"),
        (["--learning-rate", "nan"], "--learning-rate is nan"),
        (["--margin", -0.1], "--margin is -0.1"),
        (["--development-share", 1], "--development-share is 1"),
        (["--development-share", 0.9], "too few"),
        (["--hypernym-weight", 0.5], "WordNet"),
        (["--limit-words", 0], "--limit-words is 0"),
        (["--device", "tpu"], "tpu"),
        (["--encoder", "tinny"], "tinny"),
        (["--held-out", "none.txt"], "none.txt"),
        (["--word-vectors", "none.txt"], "none.txt"),
        (["--embeddings", "none.npy"], "none.npy"),
    ],
)
def test_invalid_arguments_are_refused(folder, capsys, flags, word):
    refused(capsys, word, *flags)
    assert not (folder / "run/labeller.safetensors").exists()


def test_invalid_files_are_refused(folder, capsys):
    text = (folder / "words.txt").read_text()
    (folder / "words.txt").write_text(text[: len(text) // 2])
    refused(capsys, "words.txt", *NO_DEVELOPMENT)
    coloured.words(folder / "words.txt", ["qqq", "zzz"])
    refused(capsys, "none of 8 labels", *NO_DEVELOPMENT)
    (folder / "words.txt").write_text(text)
    (folder / "list.txt").write_text("images/red/0.png\tred\nimages/blue/0.png blue\n")
    refused(capsys, "list.txt: line 2", images=["list.txt"])
    refused(capsys, "none", images=["none"])
    refused(capsys, "no images", images=[])
    refused(capsys, "--word-vectors", common=ENCODER)
