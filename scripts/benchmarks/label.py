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

from benchmarks.timing import Target, in_turn, spread
from vl.data.words.wordnet import WordNet
from vl.metrics.zero_shot import KS, Ranking, hierarchical_precision
from vl.search.nearest import NearestNeighbors

BATCH = 256  # images in one of NumPy's products, whose scores then take 22 MB
ONE_BY_ONE = 64  # images that gensim is given, which takes one at a time
PRECISION_IMAGES = 10_000
TOLERANCE = 1e-6  # scores closer than this may come in any order: all three are float32

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
TARGETS = (
    Target("images_per_second.ours.median", minimum=2000),
    Target("ratio.*", minimum=1),
    Target("hierarchical_precision_seconds.median", maximum=60),
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of this benchmark."""
    parser.add_argument("--labels", type=int, default=21_842, help="ImageNet has 21,842")
    parser.add_argument("--width", type=int, default=500, help="dimensions of word space")
    parser.add_argument("--images", type=int, default=4_096, help="images in a round")
    parser.add_argument("--top-k", type=int, default=5, help="labels of an image")
    parser.add_argument("--rounds", type=int, default=5)


def measure(flags: argparse.Namespace) -> dict[str, Any]:
    """Images a second from vectors in word space to ranked labels: ours, NumPy's and gensim's.

    All three start from unit label vectors and are first checked to find the same labels. Ours also
    normalizes the images and checks that they are finite. gensim is so slow that it gets fewer
    images.
    """
    rng = np.random.default_rng(0)
    words, images = (
        unit_vectors(rng, count, flags.width) for count in (flags.labels, flags.images)
    )
    few = images[:ONE_BY_ONE]
    on_device = torch.from_numpy(images).to(flags.device)
    labels = NearestNeighbors(torch.from_numpy(words).to(flags.device))
    keyed = KeyedVectors(flags.width)
    keyed.add_vectors([str(index) for index in range(flags.labels)], words)
    keyed.fill_norms()

    def ours() -> Ints:
        return labels.nearest(on_device, top_k=flags.top_k).indices.cpu().numpy()

    def numpys() -> Ints:
        return by_numpy(images, words, flags.top_k)

    def gensims() -> Ints:
        rankings = [keyed.most_similar(positive=[image], topn=flags.top_k) for image in few]
        return np.array([[int(name) for name, _ in ranking] for ranking in rankings])

    check_agreement(images, words, numpys(), {"ours": ours(), "gensim": gensims()})
    seconds = in_turn({"ours": ours, "numpy": numpys, "gensim": gensims}, flags.rounds)
    counts = {"ours": len(images), "numpy": len(images), "gensim": len(few)}
    rates = {name: [counts[name] / each for each in times] for name, times in seconds.items()}
    rate = {name: statistics.median(each) for name, each in rates.items()}
    precision = precision_seconds(flags.labels, flags.rounds)
    return {
        "labels": flags.labels,
        "width": flags.width,
        "top": flags.top_k,
        "images": counts,
        "images_per_second": {name: spread(each) for name, each in rates.items()},
        "ratio": {name: round(rate["ours"] / rate[name], 2) for name in ("numpy", "gensim")},
        "hierarchical_precision_images": PRECISION_IMAGES,
        "hierarchical_precision_seconds": spread(precision, 3),
        "numpy": np.__version__,
        "gensim": gensim.__version__,
    }


def unit_vectors(rng: np.random.Generator, count: int, width: int) -> Floats:
    """Random unit vectors, ``(count, width)``."""
    vectors = rng.standard_normal((count, width), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def by_numpy(images: Floats, words: Floats, top_k: int) -> Ints:
    """The product, a partition of each row, and the first ones sorted, ``(B, top_k)``."""
    rankings = []
    for begin in range(0, len(images), BATCH):
        scores = images[begin : begin + BATCH] @ words.T
        best = np.argpartition(scores, -top_k, axis=1)[:, -top_k:]
        order = np.argsort(-np.take_along_axis(scores, best, 1), axis=1)
        rankings.append(np.take_along_axis(best, order, 1))
    return np.concatenate(rankings)


def check_agreement(images: Floats, words: Floats, expected: Ints, others: dict[str, Ints]) -> None:
    """Stop if a rival ranks other labels than NumPy, but for scores equal within tolerance."""
    for name, ranking in others.items():
        for row, rank in np.argwhere(ranking != expected[: len(ranking)]).tolist():
            pair = words[[ranking[row, rank], expected[row, rank]]].astype(np.float64)
            score, expected_score = pair @ images[row]
            if abs(score - expected_score) > TOLERANCE:
                raise SystemExit(
                    f"image {row}, rank {rank + 1}: label {ranking[row, rank]} of {name} "
                    f"has {score:.7f}, NumPy's {expected[row, rank]} has {expected_score:.7f}"
                )


def precision_seconds(labels: int, rounds: int) -> list[float]:
    """Seconds of hierarchical precision of random labels, over a random tree of hypernyms."""
    rng = random.Random(0)
    names = [f"n{index:08d}" for index in range(labels)]
    pairs = [(names[rng.randrange(child)], names[child]) for child in range(1, labels)]
    tree = WordNet({name: [name] for name in names}, pairs)
    generator = np.random.default_rng(0)
    best = generator.integers(0, labels, (PRECISION_IMAGES, KS[-1]))
    truth = generator.integers(0, labels, PRECISION_IMAGES)
    ranking = Ranking(truth, np.ones(PRECISION_IMAGES, np.int64), best)
    runs = {"precision": lambda: hierarchical_precision(ranking, tree, names)}
    return in_turn(runs, rounds)["precision"]
