"""CIDEr-D against coco-caption's own; CIDEr, and both by a saved file, against plain ones."""

import gzip
import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from vl.data.errors import FormatError
from vl.metrics.cider import (
    DocumentFrequencies,
    cider,
    cider_d,
    document_frequencies,
    read_frequencies,
    write_frequencies,
)
from vl.metrics.ngrams import corpus

Words = list[str]
Captions = tuple[list[Words], list[list[Words]]]


def captions(seed: int) -> Captions:
    """Few different words, so that runs repeat; empty captions, words with a no-break space."""
    draw = random.Random(seed)
    vocabulary = ["a", "b", "c", "d\u00a0a", "e", "f"][: draw.randint(1, 6)]
    lengths = [0, 1, 2, 12, 12] + ([70, 300] if seed % 10 == 0 else [])

    def caption() -> Words:
        return draw.choices(vocabulary, k=draw.choice(lengths))

    images = draw.randint(1, 8)
    candidates = [caption() for _ in range(images)]
    references = [[caption() for _ in range(draw.randint(1, 5))] for _ in range(images)]
    references[0].append(["a"])  # coco-caption cannot do without any word
    return candidates + candidates[:1], references + references[:1]


def runs(words: Words) -> Counter[str]:
    """How often each run of one to four words occurs, of words without white space."""
    split = " ".join(words).split()
    return Counter(
        " ".join(split[first : first + size])
        for size in (1, 2, 3, 4)
        for first in range(len(split) - size + 1)
    )


def plain_frequencies(references: list[list[Words]]) -> Counter[str]:
    return Counter(
        run for others in references for run in {run for words in others for run in runs(words)}
    )


def plain_cider(given: Captions, frequencies: DocumentFrequencies, *, robust: bool) -> list[float]:
    """CIDEr-D, or where it is not to be robust CIDEr, of each image."""

    def weights(words: Words, size: int) -> dict[str, float]:
        return {
            run: count * math.log(frequencies.images / max(1, frequencies.grams.get(run, 0)))
            for run, count in runs(words).items()
            if run.count(" ") + 1 == size
        }

    def likeness(candidate: Words, reference: Words, size: int) -> float:
        said, meant = weights(candidate, size), weights(reference, size)
        norms = [math.sqrt(sum(weight**2 for weight in each.values())) for each in (said, meant)]
        if not all(norms):
            return 0.0
        total = 0.0
        for run in said.keys() & meant.keys():
            total += (min(said[run], meant[run]) if robust else said[run]) * meant[run]
        return total / norms[0] / norms[1]

    def penalty(candidate: Words, reference: Words) -> float:
        lengths = [len(" ".join(words).split()) for words in (candidate, reference)]
        return math.exp(-((lengths[0] - lengths[1]) ** 2) / 72) if robust else 1.0

    return [
        10
        * sum(
            likeness(candidate, reference, size) * penalty(candidate, reference) / 4
            for reference in others
            for size in (1, 2, 3, 4)
        )
        / len(others)
        for candidate, others in zip(*given, strict=True)
    ]


@pytest.mark.parametrize("seed", range(150))
def test_agrees_with_coco_caption(seed: int) -> None:
    candidates, references = captions(seed)
    judge: Any = pytest.importorskip("pycocoevalcap.cider.cider").Cider()
    figure, images = judge.compute_score(
        {
            image: [" ".join(caption) for caption in others]
            for image, others in enumerate(references)
        },
        {image: [" ".join(candidate)] for image, candidate in enumerate(candidates)},
    )
    found = cider_d(corpus(candidates, references))
    assert found.corpus == pytest.approx(figure, rel=0, abs=1e-9)
    assert found.images == pytest.approx(images, rel=0, abs=1e-9)


def test_the_random_corpora_hold_the_hard_cases() -> None:
    corpora = [captions(seed) for seed in range(150)]
    figures = [cider_d(corpus(*given)).images for given in corpora]
    assert sum(((images > 0.5) & (images < 9.5)).any() for images in figures) > 75
    pairs = [
        (candidate, reference)
        for candidates, references in corpora
        for candidate, others in zip(candidates, references, strict=True)
        for reference in others
    ]
    assert ([], []) in pairs
    assert any("d\u00a0a" in candidate for candidate, _ in pairs)
    assert {70, 300} <= {len(candidate) for candidate, _ in pairs}
    everywhere = [
        len(references) in plain_frequencies(references).values() for _, references in corpora
    ]
    assert any(everywhere)  # runs of no weight


@pytest.mark.parametrize("seed", range(40))
def test_cider_agrees_with_a_plain_one(seed: int) -> None:
    given = captions(seed)
    frequencies = DocumentFrequencies(len(given[1]), plain_frequencies(given[1]))
    expected = plain_cider(given, frequencies, robust=False)
    found = cider(corpus(*given))
    assert found.images == pytest.approx(expected, rel=0, abs=1e-9)
    assert found.corpus == pytest.approx(sum(expected) / len(expected), rel=0, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_by_frequencies_of_others_both_agree_with_plain_ones(seed: int) -> None:
    # The candidates and references of one corpus, the frequencies of another.
    given, others = captions(seed), captions(seed + 1)[1]
    frequencies = DocumentFrequencies(len(others) + 3, plain_frequencies(others))
    counted = corpus(*given)
    for robust, score in ((True, cider_d), (False, cider)):
        expected = plain_cider(given, frequencies, robust=robust)
        assert score(counted, frequencies).images == pytest.approx(expected, rel=0, abs=1e-9)


@pytest.mark.parametrize("seed", range(40))
def test_frequencies_agree_with_a_plain_count(seed: int) -> None:
    given = captions(seed)
    found = document_frequencies(corpus(*given))
    assert found.images == len(given[1])
    plain = plain_frequencies(given[1])
    assert found.grams == {run: count for run, count in plain.items() if count > 1}


@pytest.mark.parametrize("score", [cider, cider_d])
def test_saved_frequencies_of_the_references_change_nothing(score: Any, tmp_path: Path) -> None:
    counted = corpus(*captions(7))
    for name in ("plain.json", "packed.json.gz"):
        write_frequencies(tmp_path / name, document_frequencies(counted))
        read = read_frequencies(tmp_path / name)
        assert read == document_frequencies(counted)
        assert score(counted, read).images.tolist() == score(counted).images.tolist()


def test_a_caption_like_its_only_reference_scores_ten() -> None:
    same = ["a", "dog", "runs", "fast"]
    counted = corpus([same, ["x"]], [[same], [["y"]]])
    for score in (cider(counted), cider_d(counted)):
        assert score.images.tolist() == pytest.approx([10, 0], abs=1e-12)
        assert score.corpus == pytest.approx(5, abs=1e-12)


def test_cider_d_by_hand() -> None:
    # Of two images, so that every run weighs log 2, and it drops out of the cosine. Said twice, "a"
    # counts once: (1 * 1) / (2 * 1) for one word; no pair is shared; one word too many.
    counted = corpus([["a", "a"], ["x"]], [[["a"]], [["y"]]])
    expected = 10 * (1 / 2) / 4 * math.exp(-1 / 72)
    assert cider_d(counted).images[0] == pytest.approx(expected, abs=1e-12)
    assert cider(counted).images[0] == pytest.approx(10 / 4, abs=1e-12)


def test_one_image_scores_nothing_by_construction() -> None:
    counted = corpus([["a", "dog"]], [[["a", "dog"]]])
    assert cider_d(counted).corpus == cider(counted).corpus == 0
    assert cider_d(counted, DocumentFrequencies(2, {})).corpus == pytest.approx(10 / 2)


def test_a_run_that_every_image_has_weighs_nothing() -> None:
    for images in range(2, 60):  # log n - log n, for whatever n
        candidates = [["the"]] * images
        assert cider_d(corpus(candidates, [[["the"]]] * images)).images.tolist() == [0] * images


def test_order_of_images_and_of_references_changes_nothing() -> None:
    candidates, references = captions(7)
    turned = [others[::-1] for others in references[::-1]]
    for score in (cider, cider_d):
        images = score(corpus(candidates, references)).images
        other = score(corpus(candidates[::-1], turned)).images[::-1]
        assert other == pytest.approx(images, abs=1e-12)


def test_the_detail_says_what_could_change_the_figure() -> None:
    counted = corpus(*captions(7))
    assert cider_d(counted).detail == "n 4, sigma 6, df from the references"
    assert cider(counted).detail == "n 4, df from the references"
    others = DocumentFrequencies(113287, {})
    assert cider_d(counted, others).detail == "n 4, sigma 6, df from 113287 images"
    assert (cider_d(counted).name, cider(counted).name) == ("CIDEr-D", "CIDEr")


def test_frequencies_above_the_number_of_images_are_refused() -> None:
    with pytest.raises(ValueError, match="a run of words is in 3 images, but there are 2"):
        cider_d(corpus([["a"]], [[["a"]]]), DocumentFrequencies(2, {"a": 3}))


def test_the_file_is_as_agreed_and_packed_by_its_name(tmp_path: Path) -> None:
    frequencies = DocumentFrequencies(12, {"grün": 3, "a dog": 12})
    expected = {
        "format": "vl document frequencies 1",
        "tokens": "ptb",
        "images": 12,
        "grams": {"a dog": 12, "grün": 3},
    }
    path = tmp_path / "new" / "f.json"
    write_frequencies(path, frequencies)
    assert list(path.parent.iterdir()) == [path]
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == expected
    assert list(written["grams"]) == ["a dog", "grün"]  # sorted: the same whatever the order
    write_frequencies(tmp_path / "f.json.gz", frequencies)
    packed = (tmp_path / "f.json.gz").read_bytes()
    assert json.loads(gzip.decompress(packed)) == expected
    assert packed[4:8] == bytes(4)  # without the time, so that the same is the same again


def content(**changed: object) -> str:
    """A good file's text, but for what is changed."""
    good = {"format": "vl document frequencies 1", "tokens": "ptb", "images": 5, "grams": {"a": 2}}
    return json.dumps(good | changed)


def test_the_content_that_is_changed_below_is_good(tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    path.write_text(content(grams={"a b c d": 5, "b": 0}), encoding="utf-8")
    assert read_frequencies(path) == DocumentFrequencies(5, {"a b c d": 5, "b": 0})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ("{", "line 1 column 2: not JSON"),
        ("[" * 100_000, "JSON cannot be read"),
        ('{"format": 1, "format": 2}', "comes twice"),
        ("[]", 'an object with "format": "vl document frequencies 1" was expected'),
        (content(format="vl document frequencies 2"), 'an object with "format"'),
        (content(extra=1), "missing or not expected: 'extra'"),
        (json.dumps({"format": "vl document frequencies 1", "images": 2}), "'grams', 'tokens'"),
        (content(tokens="space"), "tokens 'space', expected 'ptb'"),
        (content(images=0), "images is 0, a whole number from 1 on"),
        (content(images=True), "images is True"),
        (content(images=2.5), "images is 2.5"),
        (content(grams=[]), "grams must be an object"),
        (content(grams={"a": 6}), "gram 'a': in 6 images, a whole number from 0 to 5"),
        (content(grams={"a b": -1}), "gram 'a b': in -1 images"),
        (content(grams={"a": math.nan}), "gram 'a': in nan images"),
        (content(grams={"a": 1.0}), "gram 'a': in 1.0 images"),
        (content(grams={"a": True}), "gram 'a': in True images"),
        (content(grams={"a b c d e": 1}), "gram 'a b c d e': one to 4 words"),
        (content(grams={"": 1}), "gram '': one to 4 words"),
        (content(grams={"a  b": 1}), "gram 'a  b': one to 4 words"),
    ],
)
def test_a_wrong_file_is_named_with_the_record(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "frequencies.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FormatError, match=message) as caught:
        read_frequencies(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_half_a_character_comes_back(name: str, tmp_path: Path) -> None:
    frequencies = DocumentFrequencies(2, {"http://x.com/\ud83da": 2, "犬": 1})
    write_frequencies(tmp_path / name, frequencies)
    assert read_frequencies(tmp_path / name) == frequencies


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "frequencies.json.gz"
    path.write_bytes(gzip.compress(content().encode())[:-5])
    with pytest.raises(FormatError, match="gzip"):
        read_frequencies(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FormatError, match="UTF-8"):
        read_frequencies(path)
    with pytest.raises(FileNotFoundError):
        read_frequencies(tmp_path / "none.json")
