"""A tiny labeller with word vectors and a WordNet."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.shapes import draw_shape
from tests.helpers.tiny_captioner import Tiny, embedder, encoder
from vl.data.embedding_writer import EmbeddingWriter
from vl.data.embeddings import Provenance
from vl.data.words.label_space import LabelSpace
from vl.data.words.labels import Label
from vl.data.words.vectors import WordVectors
from vl.data.words.wordnet import WordNet
from vl.decoders.devise import Devise
from vl.encoding.embedder import Embedder
from vl.labelling.calibration import Calibration
from vl.labelling.labeller import Labeller

WIDTH = 6  # of word space
WORDS = ("ball", "box", "ring", "stop_sign", "okapi", "giraffe", "guitar", "animal", "grass")
SEEN = (Label("ball", None), Label("okapi, forest giraffe", "n00000003"))
SYNSETS = {
    "n00000001": ("entity",),
    "n00000002": ("animal", "beast"),
    "n00000003": ("okapi", "Okapia johnstoni"),
    "n00000004": ("giraffe",),
    "n00000005": ("quokka",),  # no vector of its own
    "n00000006": ("ring",),  # a ring to wear, and one that rings
    "n00000007": ("ring", "ringing"),
    "n00000008": ("guitar",),
}
IS_A = (
    ("n00000001", "n00000002"),
    *(("n00000002", f"n0000000{number}") for number in (3, 4, 5)),
    ("n00000001", "n00000008"),
    ("n00000008", "n00000007"),
    ("n00000001", "n00000006"),
)


def units(count: int, width: int = WIDTH, *, seed: int) -> Tensor:
    """Directions, ``(count, width)``."""
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator), dim=1)


def words(names: Sequence[str] = WORDS, *, seed: int = 1) -> WordVectors:
    """Words with random directions."""
    return WordVectors(names, units(len(names), seed=seed).numpy())


def wordnet() -> WordNet:
    return WordNet(SYNSETS, IS_A)


def calibration(count: int = 20, width: int = WIDTH) -> Calibration:
    """On images of labels that no test has."""
    return Calibration(0.25, 0.5, 0.125, units(count, width, seed=2), units(count, width, seed=3))


def labeller(space: LabelSpace | None = None, **choices: Any) -> Labeller:
    """Standardized, since drawings are much alike to an untrained encoder."""
    space = space or LabelSpace(words())
    with torch.random.fork_rng():
        torch.manual_seed(4)
        projection = Devise(image_width=Tiny.width, width=space.width)
        nn.init.normal_(projection.projection.weight)
    with torch.no_grad():
        images = torch.stack([draw_shape(n, side=16)[0] for n in range(9)])
        projection.standardize(encoder()(images))
    names = ("views", "resize", "batch_size")
    settings = {name: choices.pop(name) for name in names if name in choices}
    choices = {"seen": SEEN, "calibration": calibration(width=space.width), **choices}
    return Labeller(embedder(**settings), {"devise": projection}, space, **choices)


def word_vectors(space: LabelSpace, terms: Sequence[str]) -> np.ndarray:
    """The vectors of words that are in the list, ``(K, D)``."""
    return np.stack([space.words[term.replace(" ", "_")] for term in terms])


def write_embeddings(path: Path, folder: Path, model: Embedder) -> Path:
    """Embeddings of the images in a folder and its folders, as `vl embed` writes them."""
    provenance = Provenance(
        model.encoder_name,
        model.fingerprint,
        model.resize,
        model.precision,
        model.views,
        model.width,
    )
    writer = EmbeddingWriter(path, provenance)
    files = sorted(folder.rglob("*.png"))
    writer.add([file.relative_to(folder).as_posix() for file in files], model(files))
    writer.finish()
    return path
