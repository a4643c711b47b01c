import gzip
import json
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from vl.data.captions.ptb.tokens import PUNCTUATION, scan, tokens, words
from vl.data.files import UNPRINTABLE

FIXTURES = Path(__file__).parents[3] / "fixtures"
# Strings of ours; what they become was given by Stanford CoreNLP 3.4.1 and then freed of
# coco-caption's punctuation, as test_the_tokeniser_itself_says_the_same does it again.
CASES = json.loads((FIXTURES / "ptb_tokens.json").read_text("utf-8"))

# Pieces that make hard strings when they meet.
PIECES = json.loads((FIXTURES / "ptb_pieces.json").read_text("utf-8"))


def mixed(seed: int) -> str:
    draw = random.Random(seed)
    count = draw.choice([1, 2, 3, 4, 6, 8])
    return "".join(draw.choice(PIECES) + " " * (draw.random() < 0.35) for _ in range(count))


def said_by_java(captions: list[str]) -> list[list[str]]:
    """Each caption's tokens, with a line of letters between captions to keep them apart."""
    judge = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    jar = Path(judge.__file__).parent / "stanford-corenlp-3.4.1.jar"
    java = shutil.which("java")
    if java is None or not jar.exists():
        pytest.skip("there is no Java to ask")
    lines = "".join(f"{caption}\nzqz\n" for caption in captions)
    told = subprocess.run(
        [java, "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"],
        input=lines.encode(),
        capture_output=True,
        check=True,
    )
    found = told.stdout.decode().split("\nzqz\n")[:-1]
    assert len(found) == len(captions)
    return [
        [token for token in line.rstrip().split(" ") if token not in {*PUNCTUATION, ""}]
        for line in found
    ]


@pytest.mark.parametrize("caption", CASES)
def test_tokens_are_those_of_the_ptb_tokeniser(caption):
    assert " ".join(tokens(caption)) == CASES[caption]


@pytest.mark.parametrize("caption", CASES)
def test_words_are_the_tokens_without_spaces(caption):
    assert words(caption) == CASES[caption].split()
    for word in words(caption):
        assert word == word.lower() and word not in PUNCTUATION


@pytest.mark.slow
def test_the_tokeniser_itself_says_the_same():
    captions = [*CASES, *(mixed(seed) for seed in range(4_000))]
    assert [tokens(caption) for caption in captions] == said_by_java(captions)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["coco", "flickr8k", "google"])
def test_real_captions_have_the_tokenisers_own_tokens(shared_data, source):
    captions = [" ".join(caption.split("\n")) for caption in real_captions(shared_data, source)]
    said = said_by_java(captions)
    assert [c for c, true in zip(captions, said, strict=True) if tokens(c) != true] == []


def real_captions(folder: Path, source: str) -> list[str]:
    if source == "flickr8k":
        lines = (folder / "flickr8k" / "Flickr8k.token.txt").read_text("utf-8").splitlines()
        return [line.split("\t")[1] for line in lines]
    if source == "coco":
        file = json.loads((folder / "coco" / "captions_val2017_half.json").read_text("utf-8"))
        return [annotation["caption"] for annotation in file["annotations"]]
    with gzip.open(folder / "coco" / "captions_val2014_googlstm_results.json.gz") as results:
        return sorted({result["caption"] for result in json.load(results)})


@pytest.mark.parametrize("seed", range(5))
def test_tokens_of_pieces_are_those_of_the_whole(seed):
    """Pieces are looked up one by one where that cannot matter; it must not."""
    draw = random.Random(seed)
    plain = ["dog", "Dog's", "don't", "well-known", "Inc.", "etc.", "a", "I", "The", '"no"', "x,"]
    plain += [
        "dogs.",
        "what?!",
        "cannot",
        "y'all",
        ".",
        "-",
        "&",
        "ill.",
        "Ill.",
        "fig.",
        "AT",
        "U",
    ]
    other = [
        "5",
        "A.",
        "I.",
        "1/2",
        "'tis",
        "(a)",
        "<b>",
        "U.S.",
        "n't",
        "",
        "\t",
        "..",
        "No.",
        "y'A.",
        "l'a.",
    ]
    other += ["y'A.", "l'a.", "The"]
    for _ in range(300):
        pieces = [draw.choice(plain if draw.random() < 0.8 else other) for _ in range(6)]
        caption = " ".join(pieces)
        assert tokens(caption) == scan(caption), caption


def test_a_line_break_counts_as_a_space():
    assert words("a dog\nruns\r\n2\n1/2") == words("a dog runs 2 1/2")


def test_what_cannot_be_shown_is_in_no_word_but_an_address():
    for letter in UNPRINTABLE - set("\x80\x91\x92"):  # Windows' euro sign and quotation marks
        assert letter not in "".join(words(f"a{letter}b {letter} 1{letter}2")), hex(ord(letter))
    assert words("http://x.com/a\x07b") == ["http://x.com/a\x07b"]
    assert words("a@b\x07c <b a='\x07'>") == ["a@b\x07c", "<b", "a='\x07'>"]


def test_half_a_character_is_dropped():
    assert tokens("a\ud83d b http://x\ud83dy \ude00") == ["a", "b", "http://xy"]


def test_an_address_at_the_end_loses_a_wide_space():
    assert tokens("see b@c\u3000") == ["see", "b@c"]
    assert tokens("see b@c\u3000 .") == ["see", "b@c\u3000"]


@pytest.mark.parametrize(
    "piece",
    ["a+", "<a ", "a;", "a'", '<a b="', "&a", ". ", "x. ", "a.com", "a@", "dog ", "1-", "("],
)
def test_reading_takes_time_linear_in_the_length(piece):
    """Each place is looked at fewer than 20 times; from every place before it would be 50,000."""
    steps = 0

    class Counted(str):
        def __getitem__(self, place):
            nonlocal steps
            steps += isinstance(place, int)
            assert steps < 20 * len(self)
            return str.__getitem__(self, place)

        def replace(self, old, new):
            return Counted(str.replace(self, old, new))

        def __add__(self, other):
            return Counted(str.__add__(self, other))

    text = Counted(piece * (100_000 // len(piece)))
    scan(text)
    assert steps >= len(text)


def test_a_hundred_thousand_words_take_a_moment():
    begun = time.process_time()
    assert len(words("dog runs 1/2 " * 33_333)) == 99_999
    assert time.process_time() - begun < 30  # 1 s; minutes if it were not linear


def test_nothing_but_marks_and_spaces_is_lost(shared_data):
    for caption in real_captions(shared_data, "flickr8k")[:5000]:
        letters = re.sub(r"[^a-z0-9]", "", re.sub(r"-[lr][rsc]b-", "", " ".join(words(caption))))
        assert letters == re.sub(r"[^a-z0-9]", "", caption.lower())
