"""Each warning in one sentence, and none for captions as people write them."""

from pathlib import Path

import pytest

from vl.data.captions.captions import ImageId
from vl.data.captions.ptb.tokens import tokens
from vl.evaluation.warnings import LONGEST, caption_warnings, of_frequencies, of_one_image


def said(*captions: str, images: list[ImageId] | None = None) -> list[str]:
    ids = list(range(1, len(captions) + 1)) if images is None else images
    return caption_warnings(
        Path("a.json"),
        images=ids,
        captions=captions,
        words=[tokens(caption) for caption in captions],
    )


@pytest.mark.parametrize(
    "caption",
    [
        "A dog's ball, isn't it?",
        "a dog 's ball , is n't it ?",  # as Stanford's tokeniser leaves it
        "two dogs ' balls",
        "a sign that says ' stop '",
        "-LRB- a dog -RRB- #1 & [ 2 ] < 3",
        "mail me @home @ 5",
        "Ġgantija temples",  # a word of Maltese
    ],
)
def test_a_caption_as_people_write_it_is_not_doubted(caption: str) -> None:
    assert said(caption) == []


@pytest.mark.parametrize(
    ("caption", "what", "example"),
    [
        ("the dog ' s ball", "a clitic cut in two", "the dog ' s ball"),
        ("it is n ' t so", "a clitic cut in two", "it is n ' t so"),
        ("a brown pup@@ py", "subword units", "a brown pup@@ py"),
        ("a pup@@", "subword units", "a pup@@"),
        ("\u2581a \u2581dog", "subword units", "\u2581a \u2581dog"),
        ("a pup ##py", "subword units", "a pup ##py"),
        ("\u0120a \u0120dog", "subword units", "\u0120a \u0120dog"),
        ("the dog &apos;s ball", "Moses' or HTML's escapes", "the dog &apos;s ball"),
        ("a &#91; dog", "Moses' or HTML's escapes", "a &#91; dog"),
        ("a red @-@ brown dog", "Moses' or HTML's escapes", "a red @-@ brown dog"),
        ("a dog <end>", "a model's special words", "a dog <end>"),
        ("[CLS] a dog", "a model's special words", "[CLS] a dog"),
        ("a <UNK> dog", "a model's special words", "a <UNK> dog"),
        ("a dog <|endoftext|>", "a model's special words", "a dog <|endoftext|>"),
        (
            "a very long sentence of a dog ' s ball that goes on and on for ever",
            "a clitic cut in two",
            "...ong sentence of a dog ' s ball that goes on a...",
        ),
    ],
)
def test_what_another_tokeniser_left_is_shown(caption: str, what: str, example: str) -> None:
    assert said("a cat", caption) == [
        f'a.json: 1 of 2 captions have {what} left in, as "{example}": image 2'
    ]


def test_captions_of_no_words_are_counted_and_the_first_named() -> None:
    assert said("", "a dog", " . ", images=["x.jpg", "y.jpg", "z.jpg"]) == [
        "a.json: 2 of 3 captions have no words: images 'x.jpg', 'z.jpg'"
    ]
    assert said(*[""] * 5, images=[5, 6, 6, 7, 8]) == [
        "a.json: 5 of 5 captions have no words: images 5, 6, 7, ..."
    ]


def test_captions_of_very_many_words_are_counted_and_the_longest_told() -> None:
    assert said("a " * LONGEST) == []
    assert said("a cat", "a " * (LONGEST + 1), "a " * 2500) == [
        "a.json: 2 of 3 captions have over 1,000 words, the longest 2,500: images 2, 3"
    ]


def test_several_doubts_of_one_file_are_several_sentences() -> None:
    found = said("", "a pup@@ py ' s", "a cat")
    assert [sentence.split(" captions have ")[1].split(",")[0] for sentence in found] == [
        "no words: image 1",
        "a clitic cut in two left in",
        "subword units left in",
    ]


def test_one_image_makes_cider_nothing() -> None:
    assert of_one_image(Path("r.json"), 5) == (
        "r.json: CIDEr is 0 by construction, as image 5 is alone and every word is in all images; "
        "--frequencies takes from a file how rare words are"
    )


def test_frequencies_of_one_image_make_cider_nothing() -> None:
    assert of_frequencies(Path("f.json")) == (
        "f.json: CIDEr is 0 by construction, as these frequencies are of one image and every word "
        "is in all images"
    )
