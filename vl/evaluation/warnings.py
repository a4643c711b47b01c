"""Warnings about captions whose scores are doubtful; each names the file and images."""

import re
from collections.abc import Iterator, Sequence
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
) -> Iterator[str]:
    """Warnings of implausible lengths and of traces that other tokenizers leave.

    Args:
        path: where the captions are from.
        images: the image of each caption.
        captions: as in the file.
        tokens: of each caption, as they are counted.
    """
    affected: dict[str, list[ImageId]] = {}
    examples: dict[str, str] = {}
    longest = max(map(len, tokens), default=0)
    too_long = f"over {MAX_WORDS:,} words, the longest {longest:,}"
    for image, caption, caption_tokens in zip(images, captions, tokens, strict=True):
        if not caption_tokens:
            affected.setdefault("no words", []).append(image)
        elif len(caption_tokens) > MAX_WORDS:
            affected.setdefault(too_long, []).append(image)
        if _ANY.search(caption):
            for name, pattern in _PATTERNS.items():
                if match := pattern.search(caption):
                    affected.setdefault(name, []).append(image)
                    examples.setdefault(name, f', as in "{_excerpt(caption, match)}"')
    for problem, ids in affected.items():
        distinct = list(dict.fromkeys(ids))
        listed = f"image{'s' if len(distinct) > 1 else ''} {first_few(distinct)}"
        count = f"{len(ids):,} of {len(captions):,} captions"
        yield f"{path}: {count} have {problem}{examples.get(problem, '')}: {listed}"


def _excerpt(caption: str, match: re.Match[str]) -> str:
    first, last = max(0, match.start() - _CONTEXT), match.end() + _CONTEXT
    inside = " ".join(caption[first:last].split())
    return f"{'...' if first else ''}{inside}{'...' if last < len(caption) else ''}"
