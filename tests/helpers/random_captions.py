"""Random captions with the cases that are hard for n-gram metrics."""

import random

Words = list[str]
Corpus = tuple[list[Words], list[list[Words]]]


def random_corpus(seed: int) -> Corpus:
    """Candidates and references of few distinct words, so that n-grams repeat.

    Some captions are empty, some words are empty or contain a no-break space, which BLEU and CIDEr
    split, and every tenth corpus has captions of about 64 and of 300 words.
    """
    rng = random.Random(seed)
    vocabulary = ["a", "b", "c", "d\u00a0a", "d", ""][: rng.randint(1, 6)]
    lengths = [0, 1, 2, 3, 12, 12] + ([63, 64, 65, 70, 128, 300] if seed % 10 == 0 else [])

    def caption() -> Words:
        return rng.choices(vocabulary, k=rng.choice(lengths))

    num_images = rng.randint(1, 8)
    candidates = [caption() for _ in range(num_images)]
    references = [[caption() for _ in range(rng.randint(1, 5))] for _ in range(num_images)]
    references[0].append(["a"])  # coco-caption's CIDEr needs a word
    return candidates + candidates[:1], references + references[:1]


def join(candidates: list[Words], references: list[list[Words]]) -> tuple[dict, dict]:
    """References and candidates as pycocoevalcap takes them."""
    gts = {
        image: [" ".join(caption) for caption in captions]
        for image, captions in enumerate(references)
    }
    return gts, {image: [" ".join(caption)] for image, caption in enumerate(candidates)}


def pairs(seeds: range) -> list[tuple[Words, Words]]:
    """Every candidate with each of its references."""
    return [
        (candidate, reference)
        for seed in seeds
        for candidate, captions in zip(*random_corpus(seed), strict=True)
        for reference in captions
    ]
