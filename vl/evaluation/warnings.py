"""Warnings about captions whose scores are doubtful; each names the file and images."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from vl.data.captions.captions import ImageId
from vl.data.files import first_few

MAX_WORDS = 1000  # more are not a caption of an image, but perhaps a whole file in one

# What other tokenizers and models leave in a caption. Stanford's, whose words are counted, writes
# "dog 's", "do n't" and "-lrb-", and keeps them if they are tokenized again.
_PATTERNS = {
    "a split clitic": re.compile(r"\w ' (?:s|re|ve|ll|d|m|t)\b|\bn ' t\b"),
    "subword units": re.compile(
        r"@@(?:\s|$)"  # subword-nmt
        r"|\u2581"  # SentencePiece
        r"|(?:^|\s)##\w"  # WordPiece
        r"|\u0120\w+\s*\u0120"  # GPT-2's bytes
    ),
    "Moses' or HTML's escapes": re.compile(r"&(?:apos|quot|amp|lt|gt|#\d+);|(?:^|\s)@[-,.]@\s"),
    "a model's special tokens": re.compile(
        r"<\|?/?(?:s|unk|pad|start|end|bos|eos|sos|start_?of_?text|end_?of_?text)\|?>"
        r"|\[(?:CLS|SEP|PAD|UNK|MASK)\]",
        re.IGNORECASE,
    ),
}
# A caption without a match here matches none of them, which is quickly seen.
_ANY = re.compile(r" ' |[@\u2581\u0120#&<\[]")
_CONTEXT = 20  # characters of a caption shown on either side of a match


def caption_warnings(
    path: Path | str,
    *,
    images: Sequence[ImageId],
    captions: Sequence[str],
    tokens: Sequence[Sequence[str]],
) -> list[str]:
    """Warnings of implausible lengths and of traces of other tokenizers.

    Args:
        path: where the captions are from.
        images: the image of each caption.
        captions: as in the file.
        tokens: of each caption, as they are counted.
    """
    return [*_length_warnings(path, images, tokens), *_trace_warnings(path, images, captions)]


def _length_warnings(
    path: Path | str, images: Sequence[ImageId], tokens: Sequence[Sequence[str]]
) -> Iterable[str]:
    lengths = list(map(len, tokens))
    empty = [image for image, length in zip(images, lengths, strict=True) if not length]
    if empty:
        yield _sentence(path, empty, len(lengths), "no words")
    long = [image for image, length in zip(images, lengths, strict=True) if length > MAX_WORDS]
    if long:
        problem = f"over {MAX_WORDS:,} words, the longest {max(lengths):,}"
        yield _sentence(path, long, len(lengths), problem)


def _trace_warnings(
    path: Path | str, images: Sequence[ImageId], captions: Sequence[str]
) -> Iterable[str]:
    """Captions that another tokenizer seems to have processed, by the traces it left."""
    matches: dict[str, list[ImageId]] = {}
    examples: dict[str, str] = {}
    for image, caption in zip(images, captions, strict=True):
        if _ANY.search(caption):
            for name, pattern in _PATTERNS.items():
                match = pattern.search(caption)
                if match:
                    matches.setdefault(name, []).append(image)
                    examples.setdefault(name, _excerpt(caption, match))
    for name, affected in matches.items():
        yield _sentence(path, affected, len(captions), f'{name}, as in "{examples[name]}"')


def _excerpt(caption: str, match: re.Match[str]) -> str:
    first, last = max(0, match.start() - _CONTEXT), match.end() + _CONTEXT
    inside = " ".join(caption[first:last].split())
    return f"{'...' if first else ''}{inside}{'...' if last < len(caption) else ''}"


def _sentence(path: Path | str, affected: Sequence[ImageId], total: int, problem: str) -> str:
    images = list(dict.fromkeys(affected))
    plural = "s" if len(images) > 1 else ""
    counts = f"{len(affected):,} of {total:,} captions"
    return f"{path}: {counts} have {problem}: image{plural} {first_few(images)}"
