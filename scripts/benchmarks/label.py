"""Nearest labels of images, beside NumPy and gensim."""

import argparse
import random
import statistics
from typing import Any

import gensim
import numpy as np
import torch
from gensim.models import KeyedVectors
from numpy.typing import NDArray

from benchmarks.timing import in_turn, spread
from vl.data.words.wordnet import WordNet
from vl.metrics.zero_shot import KS, Ranking, hierarchical_precision
from vl.search.nearest import NearestNeighbors

AT_ONCE = 256  # images in one of NumPy's products, whose scores are then 22 MB
ONE_BY_ONE = 64  # images that gensim is given, which takes one at a time
PRECISION_IMAGES = 10_000
EQUAL = 1e-6  # scores nearer than this may come in any order: all three are float32

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What it can be told."""
    parser.add_argument("--labels", type=int, default=21_842, help="as many as ImageNet has")
    parser.add_argument("--width", type=int, default=500, help="of word space")
    parser.add_argument("--images", type=int, default=4_096, help="images a round")
    parser.add_argument("--top", type=int, default=5, help="labels an image")
    parser.add_argument("--rounds", type=int, default=5)


def figures(flags: argparse.Namespace) -> dict[str, Any]:
    """Images a second from vectors in word space to ranked labels: ours, NumPy's and gensim's.

    All three have the labels ready as unit vectors, and are first seen to find the same ones. Ours
    also brings the images to length 1 and looks whether they are finite. gensim takes so long that
    it has fewer images; its rate is theirs.
    """
    draw = np.random.default_rng(0)
    words, images = (units(draw, count, flags.width) for count in (flags.labels, flags.images))
    few = images[:ONE_BY_ONE]
    on_device = torch.from_numpy(images).to(flags.device)
    labels = NearestNeighbors(torch.from_numpy(words).to(flags.device))
    keyed = KeyedVectors(flags.width)
    keyed.add_vectors([str(number) for number in range(flags.labels)], words)
    keyed.fill_norms()

    def ours() -> Ints:
        return labels.nearest(on_device, top_k=flags.top).indices.cpu().numpy()

    def numpys() -> Ints:
        return by_numpy(images, words, flags.top)

    def gensims() -> Ints:
        found = [keyed.most_similar(positive=[image], topn=flags.top) for image in few]
        return np.array([[int(name) for name, _ in each] for each in found])

    check_agreement(images, words, numpys(), {"ours": ours(), "gensim": gensims()})
    seconds = in_turn({"ours": ours, "numpy": numpys, "gensim": gensims}, flags.rounds)
    counts = {"ours": len(images), "numpy": len(images), "gensim": len(few)}
    rates = {name: [counts[name] / each for each in times] for name, times in seconds.items()}
    rate = {name: statistics.median(each) for name, each in rates.items()}
    precision = precision_seconds(flags.labels, flags.rounds)
    return {
        "labels": flags.labels,
        "width": flags.width,
        "top": flags.top,
        "images": counts,
        "images_per_second": {name: spread(each) for name, each in rates.items()},
        "ratio": {name: round(rate["ours"] / rate[name], 2) for name in ("numpy", "gensim")},
        "hierarchical_precision_images": PRECISION_IMAGES,
        "hierarchical_precision_seconds": spread(precision, 3),
        "numpy": np.__version__,
        "gensim": gensim.__version__,
    }


def units(draw: np.random.Generator, count: int, width: int) -> Floats:
    """Vectors of length 1 and any direction, ``(count, width)``."""
    vectors = draw.standard_normal((count, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_numpy(images: Floats, words: Floats, top: int) -> Ints:
    """The product, a partition of each row, and the first ones put in order, ``(B, top)``."""
    found = []
    for begin in range(0, len(images), AT_ONCE):
        scores = images[begin : begin + AT_ONCE] @ words.T
        best = np.argpartition(scores, -top, axis=1)[:, -top:]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        found.append(np.take_along_axis(best, order, 1))
    return np.concatenate(found)


def check_agreement(images: Floats, words: Floats, expected: Ints, others: dict[str, Ints]) -> None:
    """Stop if one found other labels than NumPy did, but for scores that are as good as equal."""
    for name, found in others.items():
        for row, place in np.argwhere(found != expected[: len(found)]).tolist():
            pair = words[[found[row, place], expected[row, place]]].astype(np.float64)
            one, other = pair @ images[row]
            if abs(one - other) > EQUAL:
                raise SystemExit(
                    f"image {row}, place {place + 1}: label {found[row, place]} of {name} "
                    f"has {one:.7f}, NumPy's {expected[row, place]} has {other:.7f}"
                )


def precision_seconds(labels: int, rounds: int) -> list[float]:
    """Hierarchical precision of any labels, over an is-a tree in which any label is a parent."""
    chance = random.Random(0)
    names = [f"n{number:08d}" for number in range(labels)]
    pairs = [(names[chance.randrange(child)], names[child]) for child in range(1, labels)]
    tree = WordNet({name: [name] for name in names}, pairs)
    draw = np.random.default_rng(0)
    best = draw.integers(0, labels, (PRECISION_IMAGES, KS[-1]))
    truth = draw.integers(0, labels, PRECISION_IMAGES)
    ranking = Ranking(truth, np.ones(PRECISION_IMAGES, np.int64), best, labels)
    runs = {"precision": lambda: hierarchical_precision(ranking, tree, names)}
    return in_turn(runs, rounds)["precision"]
