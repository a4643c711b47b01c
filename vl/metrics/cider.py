"""CIDEr and CIDEr-D, the likeness of word runs weighed by how rare they are (Vedantam et al. 2015).

Both are 0 by construction where there is one image: the logarithm of 1 is every run's weight.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError
from vl.data.files import atomic_write, decode_text, parse_json
from vl.metrics.ngrams import LONGEST, Corpus, Grams, Ints, changes
from vl.metrics.score import Floats, Score, mean_score

_SIGMA = 6.0  # of the penalty for another length, in words; coco-caption's
_SCALE = 10.0  # coco-caption multiplies by it
_FORMAT = "vl document frequencies 1"
_TOKENS = "ptb"


class DocumentFrequencies(NamedTuple):
    """In how many images people say what."""

    images: int
    """All images."""
    grams: Mapping[str, int]
    """Of how many images a run's references hold it, the run's words joined by spaces.

    Runs of one image need not be here: they weigh as much as those of none."""


def cider_d(corpus: Corpus, frequencies: DocumentFrequencies | None = None) -> Score:
    """CIDEr-D of each image, in [0, 10], and their mean.

    Args:
        corpus: what was said.
        frequencies: how common each run is; as common as in the references at hand by default.

    Raises:
        ValueError: a run is said to be in more images than there are.

    Source:
        The figures of coco-caption's Cider.
    """
    lengths = corpus.words.lengths
    longer = lengths[corpus.references] - lengths[_candidates(corpus)]
    penalty = np.exp(-(longer**2) / (2 * _SIGMA**2))
    images = _likeness(corpus, frequencies, penalty, clipped=True)
    detail = f"n {LONGEST}, sigma {_SIGMA:g}, {_origin(frequencies)}"
    return mean_score("CIDEr-D", images, detail=detail)


def cider(corpus: Corpus, frequencies: DocumentFrequencies | None = None) -> Score:
    """CIDEr of each image, in [0, 10], and their mean: the measure before it was made robust.

    It is the cosine of all runs' weights: a run may be said too often, a caption be too long.
    Words are not stemmed here, and the figure is multiplied by 10, as that of CIDEr-D is.

    Args:
        corpus: what was said.
        frequencies: how common each run is; as common as in the references at hand by default.

    Raises:
        ValueError: a run is said to be in more images than there are.

    Source:
        Vedantam et al. 2015, equations 1 to 3, sizes weighed alike. A run that no reference holds
        counts as if one image's did, as in coco-caption; the paper would divide by zero.
    """
    penalty = np.ones(len(corpus.references))
    images = _likeness(corpus, frequencies, penalty, clipped=False)
    return mean_score("CIDEr", images, detail=f"n {LONGEST}, {_origin(frequencies)}")


def document_frequencies(corpus: Corpus) -> DocumentFrequencies:
    """How many images' references hold each run that those of two or more hold."""
    found: dict[str, int] = {}
    for size, grams in enumerate(corpus.grams, 1):
        counts = _counts(corpus, grams)
        common = np.flatnonzero(counts > 1)
        found.update(zip(_spelt(corpus, grams.place[common], size), counts[common].tolist()))
    return DocumentFrequencies(corpus.images, found)


def write_frequencies(path: Path | str, frequencies: DocumentFrequencies) -> None:
    """Write frequencies as JSON, by gzip if the name ends in ``.gz``; whole or not at all."""
    content = {
        "format": _FORMAT,
        "tokens": _TOKENS,
        "images": frequencies.images,
        "grams": dict(sorted(frequencies.grams.items())),
    }
    # A half of a character, which JSON can hold and UTF-8 cannot, is written as JSON spells it.
    written = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if Path(path).suffix == ".gz":
        written = gzip.compress(written, mtime=0)  # the same frequencies, the same file
    with atomic_write(path) as beside:
        beside.write_bytes(written)


def read_frequencies(path: Path | str) -> DocumentFrequencies:
    """Frequencies as `write_frequencies` leaves them.

    Raises:
        FormatError: the file is anything else.
        OSError: it cannot be read.
    """
    path = Path(path)
    content = parse_json(path, decode_text(path, path.read_bytes()), object_pairs_hook=_object)
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise FormatError(path, f'an object with "format": "{_FORMAT}" was expected')
    expected = {"format", "tokens", "images", "grams"}
    if content.keys() != expected:
        wrong = ", ".join(map(repr, sorted(content.keys() ^ expected)))
        raise FormatError(path, f"missing or not expected: {wrong}")
    if content["tokens"] != _TOKENS:
        raise FormatError(path, f"tokens {content['tokens']!r}, expected {_TOKENS!r}")
    images, grams = content["images"], content["grams"]
    if type(images) is not int or images < 1:
        raise FormatError(path, f"images is {images!r}, a whole number from 1 on was expected")
    if not isinstance(grams, dict):
        raise FormatError(path, "grams must be an object, run of words to number of images")
    for gram, count in grams.items():
        words = gram.split()
        if not 1 <= len(words) <= LONGEST or " ".join(words) != gram:
            problem = f"one to {LONGEST} words with a space between were expected"
            raise FormatError(path, problem, record=f"gram {gram!r}")
        if type(count) is not int or not 0 <= count <= images:
            problem = f"in {count!r} images, a whole number from 0 to {images} was expected"
            raise FormatError(path, problem, record=f"gram {gram!r}")
    return DocumentFrequencies(images, grams)


def _likeness(
    corpus: Corpus,
    frequencies: DocumentFrequencies | None,
    penalty: Floats,
    *,
    clipped: bool,
) -> Floats:
    """Mean over sizes and references of the likeness times the penalty, and the scale, ``(I,)``.

    Args:
        corpus: what was said.
        frequencies: how common each run is, or None.
        penalty: a factor for each reference, ``(R,)``.
        clipped: whether a run counts in the candidate no more than in the reference.
    """
    references, candidates = corpus.references, _candidates(corpus)
    sentences = len(corpus.image_of)
    total = np.zeros(len(references))
    for size, grams in enumerate(corpus.grams, 1):
        weight = grams.count * _rareness(corpus, size, frequencies)[grams.gram]
        norm = np.sqrt(np.bincount(grams.sentence, weight**2, sentences))
        said, meant = weight[grams.said], weight[grams.shared]
        if clipped:
            said = np.minimum(said, meant)
        product = np.bincount(grams.sentence[grams.shared], said * meant, sentences)[references]
        below = norm[candidates] * norm[references]
        total += np.divide(product, below, out=np.zeros_like(below), where=below > 0)
    mean = np.add.reduceat(total * penalty, corpus.reference_starts)
    numbers = np.bincount(corpus.image_of) - 1
    return _SCALE * mean / LONGEST / numbers


def _rareness(corpus: Corpus, size: int, frequencies: DocumentFrequencies | None) -> Floats:
    """The logarithm of images for each image with the run, ``(G,)``."""
    grams = corpus.grams[size - 1]
    if frequencies is None:
        images, counts = corpus.images, _counts(corpus, grams)
    else:
        images = frequencies.images
        known = (frequencies.grams.get(gram, 0) for gram in _spelt(corpus, grams.place, size))
        counts = np.fromiter(known, np.int64, len(grams.place))
        if images < counts.max(initial=1):
            raise ValueError(f"a run of words is in {counts.max()} images, but there are {images}")
    # One logarithm, not the difference of two: exactly 0 where every image has the run.
    rareness: Floats = np.log(images / np.maximum(counts, 1))
    return rareness


def _counts(corpus: Corpus, grams: Grams) -> Ints:
    """The images whose references hold each run, ``(G,)``."""
    rows = np.flatnonzero(~corpus.is_candidate[grams.sentence])
    gram, image = grams.gram[rows], corpus.image_of[grams.sentence[rows]]
    return np.bincount(gram[changes(gram, image)], minlength=len(grams.place))


def _spelt(corpus: Corpus, places: Ints, size: int) -> Iterator[str]:
    """The words of the runs that begin at these places, joined by spaces."""
    vocabulary: NDArray[np.object_] = np.array(corpus.vocabulary, object)
    columns = [vocabulary[corpus.words.words[places + offset]] for offset in range(size)]
    return map(" ".join, zip(*columns))


def _candidates(corpus: Corpus) -> Ints:
    """The candidate to compare each reference with, ``(R,)``."""
    return corpus.candidate[corpus.image_of[corpus.references]]


def _origin(frequencies: DocumentFrequencies | None) -> str:
    return f"df from {f'{frequencies.images} images' if frequencies else 'the references'}"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key comes twice")
    return found
