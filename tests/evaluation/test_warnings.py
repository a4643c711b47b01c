"""One sentence per warning, and none for ordinary captions."""

import pytest

from vl.data.captions.captions import ImageId
from vl.data.captions.ptb.tokens import tokens
from vl.evaluation.warnings import MAX_WORDS, caption_warnings


def warnings_of(*captions: str, images: list[ImageId] | None = None) -> list[str]:
    ids = list(range(1, len(captions) + 1)) if images is None else images
    tokenized = [tokens(caption) for caption in captions]
    return list(caption_warnings("a.json", images=ids, captions=captions, tokens=tokenized))


@pytest.mark.parametrize(
    "caption",
    [
        "A dog's ball, isn't it?",
        "a dog 's ball , is n't it ?",  # as Stanford's tokenizer writes it
        "two dogs ' balls",
        "a sign that says ' stop '",
        "-LRB- a dog -RRB- #1 & [ 2 ] < 3",
        "mail me @home @ 5",
        "Ġgantija temples",  # a word of Maltese
    ],
)
def test_no_warning_for_ordinary_captions(caption: str) -> None:
    assert warnings_of(caption) == []


@pytest.mark.parametrize(
    ("problem", "captions"),
    [
        ("a split clitic", ["the dog ' s ball", "it is n ' t so"]),
        ("subword units", ["a brown pup@@ py", "a pup@@", "a pup ##py"]),
        ("subword units", ["\u2581a \u2581dog", "\u0120a \u0120dog"]),
        (
            "Moses' or HTML's escapes",
            ["the dog &apos;s ball", "a &#91; dog", "a red @-@ brown dog"],
        ),
        ("a model's special tokens", ["a dog <end>", "[CLS] a dog", "a <UNK> dog"]),
        ("a model's special tokens", ["a dog <|endoftext|>"]),
    ],
)
def test_traces_of_other_tokenizers_are_quoted(problem: str, captions: list[str]) -> None:
    for caption in captions:
        assert warnings_of("a cat", caption) == [
            f'a.json: 1 of 2 captions have {problem}, as in "{caption}": image 2'
        ]


def test_quotations_are_short() -> None:
    (message,) = warnings_of("a very long sentence of a dog ' s ball that goes on and on forever")
    assert '"...ong sentence of a dog \' s ball that goes on a..."' in message


def test_empty_captions_are_counted() -> None:
    assert warnings_of("", "a dog", " . ", images=["x.jpg", "y.jpg", "z.jpg"]) == [
        "a.json: 2 of 3 captions have no words: images 'x.jpg', 'z.jpg'"
    ]
    assert warnings_of(*[""] * 5, images=[5, 6, 6, 7, 8]) == [
        "a.json: 5 of 5 captions have no words: images 5, 6, 7, ..."
    ]


def test_very_long_captions_are_counted() -> None:
    assert warnings_of("a " * MAX_WORDS) == []
    assert warnings_of("a cat", "a " * (MAX_WORDS + 1), "a " * 2500) == [
        "a.json: 2 of 3 captions have over 1,000 words, the longest 2,500: images 2, 3"
    ]


def test_one_sentence_per_problem() -> None:
    messages = warnings_of("", "a pup@@ py ' s", "a cat")
    assert [message.split(" captions have ")[1].split(",")[0] for message in messages] == [
        "no words: image 1",
        "a split clitic",
        "subword units",
    ]
