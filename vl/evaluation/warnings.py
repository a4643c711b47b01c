"""What in captions makes their scores doubtful, each in a sentence that names file and image."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vl.data.captions.captions import ImageId
from vl.data.files import first_few

LONGEST = 1000  # words: no photograph's caption, rather a whole file in one

# What other tokenisers and models leave in a caption. Stanford's, whose words are counted, writes
# "dog 's", "do n't" and "-lrb-", which it reads as it wrote them.
_MARKS = {
    "a clitic cut in two": re.compile(r"\w ' (?:s|re|ve|ll|d|m|t)\b|\bn ' t\b"),
    "subword units": re.compile(
        r"@@(?:\s|$)"  # subword-nmt
        r"|\u2581"  # SentencePiece
        r"|(?:^|\s)##\w"  # WordPiece
        r"|\u0120\w+\s*\u0120"  # GPT-2's bytes
    ),
    "Moses' or HTML's escapes": re.compile(r"&(?:apos|quot|amp|lt|gt|#\d+);|(?:^|\s)@[-,.]@\s"),
    "a model's special words": re.compile(
        r"<\|?/?(?:s|unk|pad|start|end|bos|eos|sos|start_?of_?text|end_?of_?text)\|?>"
        r"|\[(?:CLS|SEP|PAD|UNK|MASK)\]",
        re.IGNORECASE,
    ),
}
# A caption without one of these has no mark, which is quickly seen.
_ANY = re.compile(r" ' |[@\u2581\u0120#&<\[]")
_AROUND = 20  # characters of a caption shown on either side of a mark


def caption_warnings(
    path: Path | str,
    *,
    images: Sequence[ImageId],
    captions: Sequence[str],
    words: Sequence[Sequence[str]],
) -> list[str]:
    """What to warn of before the scores are believed.

    Args:
        path: where the captions are from.
        images: which each caption is of.
        captions: as they stand in the file.
        words: of each caption, as they are counted.
    """
    return [*_of_length(path, images, words), *_marked(path, images, captions)]


def of_one_image(path: Path | str, image: ImageId) -> str:
    """What to warn of where CIDEr has but one image to learn from what words are rare."""
    return (
        f"{path}: CIDEr is 0 by construction, as image {image!r} is alone and every word is in "
        "all images; --frequencies takes from a file how rare words are"
    )


def of_frequencies(path: Path | str) -> str:
    """What to warn of where CIDEr is to learn from one image's frequencies what is rare."""
    return (
        f"{path}: CIDEr is 0 by construction, as these frequencies are of one image and every "
        "word is in all images"
    )


def _of_length(
    path: Path | str, images: Sequence[ImageId], captions: Sequence[Sequence[str]]
) -> Iterable[str]:
    """Captions of no words, or of so many that it cannot be a caption."""
    lengths = list(map(len, captions))
    empty = [image for image, length in zip(images, lengths, strict=True) if not length]
    if empty:
        yield _sentence(path, empty, len(lengths), "no words")
    long = [image for image, length in zip(images, lengths, strict=True) if length > LONGEST]
    if long:
        what = f"over {LONGEST:,} words, the longest {max(lengths):,}"
        yield _sentence(path, long, len(lengths), what)


def _marked(path: Path | str, images: Sequence[ImageId], captions: Sequence[str]) -> Iterable[str]:
    """Captions that another tokeniser seems to have cut, by what it left in them."""
    found: dict[str, list[ImageId]] = {}
    examples: dict[str, str] = {}
    for image, caption in zip(images, captions, strict=True):
        if _ANY.search(caption):
            for what, mark in _MARKS.items():
                match = mark.search(caption)
                if match:
                    found.setdefault(what, []).append(image)
                    examples.setdefault(what, _cut(caption, match))
    for what, of_images in found.items():
        yield _sentence(path, of_images, len(captions), f'{what} left in, as "{examples[what]}"')


def _cut(caption: str, match: re.Match[str]) -> str:
    first, last = max(0, match.start() - _AROUND), match.end() + _AROUND
    inside = " ".join(caption[first:last].split())
    return f"{'...' if first else ''}{inside}{'...' if last < len(caption) else ''}"


def _sentence(path: Path | str, found: Sequence[ImageId], count: int, what: str) -> str:
    images = list(dict.fromkeys(found))
    several = "s" if len(images) > 1 else ""
    some = first_few(images)
    return f"{path}: {len(found):,} of {count:,} captions have {what}: image{several} {some}"
