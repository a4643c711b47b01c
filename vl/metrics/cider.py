"""CIDEr and CIDEr-D, the similarity of n-grams weighted by TF-IDF (Vedantam et al. 2015).

Both are 0 by construction for a single image: the inverse document frequency is log 1.
"""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vl.data.errors import FormatError
from vl.data.files import atomic_write, read_json
from vl.metrics.ngrams import MAX_ORDER, CaptionCorpus, Ints, NgramTable, starts_group
from vl.metrics.score import Floats, Score, mean_score

_SIGMA = 6.0  # of the length penalty, in words; coco-caption's
_SCALE = 10.0  # coco-caption multiplies by it
_HEADER = {"format": "vl document frequencies 1", "tokenizer": "ptb"}  # of a file


class DocumentFrequencies(NamedTuple):
    """In the references of how many images each n-gram occurs."""

    num_images: int
    """All images."""
    counts: Mapping[str, int]
    """Images by n-gram, its words joined by spaces.

    N-grams of one image may be missing: their weight is that of an n-gram of no image."""


def cider_d(corpus: CaptionCorpus, frequencies: DocumentFrequencies | None = None) -> Score:
    """CIDEr-D of each image, in [0, 10], and the mean over images.

    Args:
        corpus: the captions.
        frequencies: of n-grams; computed from the references by default.

    Source:
        coco-caption's Cider, whose values these are.
    """
    lengths = corpus.words.lengths
    difference = lengths[corpus.references] - lengths[corpus.candidate_of_reference]
    penalty = np.exp(-(difference**2) / (2 * _SIGMA**2))
    per_image = _similarity(corpus, frequencies, penalty, clip=True)
    settings = (
        f"coco-caption's CIDEr | n {MAX_ORDER}, sigma {_SIGMA:g}, {_origin(corpus, frequencies)}"
    )
    return mean_score("CIDEr-D", per_image, settings=settings)


def cider(corpus: CaptionCorpus, frequencies: DocumentFrequencies | None = None) -> Score:
    """CIDEr of each image, in [0, 10], and the mean over images: without the changes of CIDEr-D.

    It is the cosine of TF-IDF vectors, without clipping and length penalty. Words are not stemmed,
    and the value is multiplied by 10, as CIDEr-D is. The arguments are those of `cider_d`.

    Source:
        Vedantam et al. 2015, equations 1 to 3, with uniform weights. An n-gram of no reference has
        document frequency 1, as in coco-caption; the paper would divide by zero.
    """
    penalty = np.ones(len(corpus.references))
    per_image = _similarity(corpus, frequencies, penalty, clip=False)
    return mean_score("CIDEr", per_image, settings=f"n {MAX_ORDER}, {_origin(corpus, frequencies)}")


def document_frequencies(corpus: CaptionCorpus) -> DocumentFrequencies:
    """Document frequencies of the n-grams that the references of two or more images contain."""
    frequencies: dict[str, int] = {}
    for order, table in enumerate(corpus.ngrams, 1):
        counts = _image_counts(corpus, table)
        common = np.flatnonzero(counts > 1)
        texts = _texts(corpus, table.position[common], order)
        frequencies.update(zip(texts, counts[common].tolist()))
    return DocumentFrequencies(corpus.num_images, frequencies)


def write_frequencies(path: Path | str, frequencies: DocumentFrequencies) -> None:
    """Write document frequencies as JSON, with gzip if the name ends in ``.gz``; atomic."""
    ngrams = dict(sorted(frequencies.counts.items()))
    content = {**_HEADER, "num_images": frequencies.num_images, "ngrams": ngrams}
    # A lone surrogate, which JSON can hold and UTF-8 cannot, is written as JSON spells it.
    data = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")
    if Path(path).suffix == ".gz":
        data = gzip.compress(data, mtime=0)  # reproducible
    with atomic_write(path) as temporary:
        temporary.write_bytes(data)


def read_frequencies(path: Path | str) -> DocumentFrequencies:
    """Read document frequencies that `write_frequencies` wrote.

    Raises:
        FormatError: the content is invalid.
        OSError: the file cannot be read.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, dict) or {**content, **_HEADER} != content:
        raise FormatError(path, f"expected an object with {json.dumps(_HEADER)}")
    if unequal := content.keys() ^ {*_HEADER, "num_images", "ngrams"}:
        raise FormatError(path, f"missing or unexpected keys: {', '.join(sorted(unequal))}")
    num_images, counts = content["num_images"], content["ngrams"]
    if type(num_images) is not int or num_images < 1:
        raise FormatError(path, f"num_images is {num_images!r}; expected a positive integer")
    if not isinstance(counts, dict):
        raise FormatError(path, "ngrams must be an object of n-grams and image counts")
    for ngram, count in counts.items():
        words = ngram.split()
        if not 1 <= len(words) <= MAX_ORDER or " ".join(words) != ngram:
            problem = f"expected 1 to {MAX_ORDER} words joined by single spaces"
            raise FormatError(path, problem, record=f"n-gram {ngram!r}")
        if type(count) is not int or not 0 <= count <= num_images:
            problem = f"the count is {count!r}; expected an integer from 0 to {num_images}"
            raise FormatError(path, problem, record=f"n-gram {ngram!r}")
    return DocumentFrequencies(num_images, counts)


def _similarity(
    corpus: CaptionCorpus, frequencies: DocumentFrequencies | None, penalty: Floats, *, clip: bool
) -> Floats:
    """Mean over orders and references of cosine times penalty, scaled, ``(I,)``.

    Args:
        corpus: the captions.
        frequencies: of n-grams, or None.
        penalty: a factor for each reference, ``(R,)``.
        clip: limit an n-gram's weight in the candidate to that in the reference.
    """
    references, candidates = corpus.references, corpus.candidate_of_reference
    num_sentences = len(corpus.image_of)
    total = np.zeros(len(references))
    for order, table in enumerate(corpus.ngrams, 1):
        weight = table.count * _idf(corpus, order, frequencies)[table.ngram]
        norm = np.sqrt(np.bincount(table.sentence, weight**2, num_sentences))
        in_candidate, in_reference = weight[table.candidate_row], weight[table.matched]
        if clip:
            in_candidate = np.minimum(in_candidate, in_reference)
        products = in_candidate * in_reference
        dot = np.bincount(table.sentence[table.matched], products, num_sentences)[references]
        norms = norm[candidates] * norm[references]
        total += np.divide(dot, norms, out=np.zeros_like(norms), where=norms > 0)
    sums = np.add.reduceat(total * penalty, corpus.reference_starts)
    reference_counts = np.bincount(corpus.image_of) - 1
    return _SCALE * sums / MAX_ORDER / reference_counts


def _idf(corpus: CaptionCorpus, order: int, frequencies: DocumentFrequencies | None) -> Floats:
    """The inverse document frequency of each n-gram, ``(G,)``."""
    table = corpus.ngrams[order - 1]
    if frequencies is None:
        num_images, counts = corpus.num_images, _image_counts(corpus, table)
    else:
        num_images = frequencies.num_images
        texts = _texts(corpus, table.position, order)
        known = (frequencies.counts.get(text, 0) for text in texts)
        counts = np.fromiter(known, np.int64, len(table.position))
    # One logarithm, not the difference of two: exactly 0 for an n-gram of all images.
    idf: Floats = np.log(num_images / np.maximum(counts, 1))
    return idf


def _image_counts(corpus: CaptionCorpus, table: NgramTable) -> Ints:
    """The number of images whose references contain each n-gram, ``(G,)``."""
    rows = np.flatnonzero(~corpus.is_candidate[table.sentence])
    ngram, image = table.ngram[rows], corpus.image_of[table.sentence[rows]]
    return np.bincount(ngram[starts_group(ngram, image)], minlength=len(table.position))


def _texts(corpus: CaptionCorpus, positions: Ints, order: int) -> Iterator[str]:
    """The n-grams that begin at these positions, their words joined by spaces."""
    vocabulary: NDArray[np.object_] = np.array(corpus.vocabulary, object)
    columns = [vocabulary[corpus.words.ids[positions + offset]] for offset in range(order)]
    return map(" ".join, zip(*columns))


def _origin(corpus: CaptionCorpus, frequencies: DocumentFrequencies | None) -> str:
    origin = f"{frequencies.num_images} images" if frequencies else "the references"
    return f"df from {origin} | images {corpus.num_images}"
