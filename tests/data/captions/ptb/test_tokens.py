import gzip
import json
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from vl.data.captions.ptb.tokens import PUNCTUATION, scan, tokens, words
from vl.data.files import UNPRINTABLE

FIXTURES = Path(__file__).parents[3] / "fixtures"
# The expected tokens are those of Stanford CoreNLP 3.4.1 without coco-caption's punctuation, which
# test_equals_stanford_tokenizer computes again.
CASES = json.loads((FIXTURES / "ptb_tokens.json").read_text("utf-8"))
PIECES = json.loads((FIXTURES / "ptb_pieces.json").read_text("utf-8"))  # hard when they meet


def random_caption(seed: int) -> str:
    rng = random.Random(seed)
    count = rng.choice([1, 2, 3, 4, 6, 8])
    return "".join(rng.choice(PIECES) + " " * (rng.random() < 0.35) for _ in range(count))


def stanford_tokens(captions: list[str]) -> list[list[str]]:
    """Each caption's tokens; lines of letters keep the captions apart."""
    package = pytest.importorskip("pycocoevalcap.tokenizer.ptbtokenizer")
    jar = Path(package.__file__).parent / "stanford-corenlp-3.4.1.jar"
    java = shutil.which("java")
    if java is None or not jar.exists():
        pytest.skip("Java or CoreNLP is missing")
    lines = "".join(f"{caption}\nzqz\n" for caption in captions)
    process = subprocess.run(
        [java, "-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"],
        input=lines.encode(),
        capture_output=True,
        check=True,
    )
    outputs = process.stdout.decode().split("\nzqz\n")[:-1]
    assert len(outputs) == len(captions)
    return [
        [token for token in line.rstrip().split(" ") if token not in {*PUNCTUATION, ""}]
        for line in outputs
    ]


@pytest.mark.parametrize("caption", CASES)
def test_tokens_and_words_of_fixtures(caption):
    assert " ".join(tokens(caption)) == CASES[caption]
    assert words(caption) == CASES[caption].lower().split()
    assert PUNCTUATION.isdisjoint(words(caption))


@pytest.mark.slow
def test_equals_stanford_tokenizer():
    captions = [*CASES, *map(random_caption, range(4_000))]
    assert [tokens(caption) for caption in captions] == stanford_tokens(captions)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["coco", "flickr8k", "google"])
def test_equals_stanford_tokenizer_on_real_captions(shared_data, source):
    captions = [" ".join(caption.split("\n")) for caption in real_captions(shared_data, source)]
    expected = stanford_tokens(captions)
    assert [c for c, true in zip(captions, expected, strict=True) if tokens(c) != true] == []


def real_captions(folder: Path, source: str) -> list[str]:
    if source == "flickr8k":
        lines = (folder / "flickr8k" / "Flickr8k.token.txt").read_text("utf-8").splitlines()
        return [line.split("\t")[1] for line in lines]
    if source == "coco":
        file = json.loads((folder / "coco" / "captions_val2017_half.json").read_text("utf-8"))
        return [annotation["caption"] for annotation in file["annotations"]]
    with gzip.open(folder / "coco" / "captions_val2014_googlstm_results.json.gz") as results:
        return sorted({result["caption"] for result in json.load(results)})


PLAIN = """
    dog Dog's don't well-known Inc. etc. a I The "no" x, dogs. what?! cannot y'all . - & ill. Ill.
    fig. AT U
"""
CONTEXTUAL = "\t 5 A. I. 1/2 'tis (a) <b> U.S. n't .. No. y'A. l'a. The"


@pytest.mark.parametrize("seed", range(5))
def test_cache_of_pieces_changes_nothing(seed):
    rng = random.Random(seed)
    plain, contextual = PLAIN.split(), ["", *CONTEXTUAL.split(" ")]
    for _ in range(300):
        pieces = [rng.choice(plain if rng.random() < 0.8 else contextual) for _ in range(6)]
        caption = " ".join(pieces)
        assert tokens(caption) == scan(caption), caption


def test_line_break_is_a_space():
    assert words("a dog\nruns\r\n2\n1/2") == words("a dog runs 2 1/2")


def test_only_addresses_and_tags_keep_control_characters():
    unprintable = UNPRINTABLE.findall("".join(map(chr, range(0xE0080))))
    for letter in set(unprintable) - set("\x80\x91\x92"):  # Windows' euro and quotation marks
        assert letter not in "".join(words(f"a{letter}b {letter} 1{letter}2")), hex(ord(letter))
    assert words("http://x.com/a\x07b") == ["http://x.com/a\x07b"]
    assert words("a@b\x07c <b a='\x07'>") == ["a@b\x07c", "<b", "a='\x07'>"]


def test_lone_surrogate_is_dropped():
    assert tokens("a\ud83d b http://x\ud83dy \ude00") == ["a", "b", "http://xy"]


def test_address_at_the_end_loses_a_wide_space():
    assert tokens("see b@c\u3000") == ["see", "b@c"]
    assert tokens("see b@c\u3000 .") == ["see", "b@c\u3000"]


@pytest.mark.parametrize(
    "piece",
    ["a+", "<a ", "a;", "a'", '<a b="', "&a", ". ", "x. ", "a.com", "a@", "dog ", "1-", "("],
)
def test_time_is_linear_in_length(piece):
    """Each character is read fewer than 20 times; without memory of dead ends some 50,000."""
    steps = 0

    class CountingText(str):
        def __getitem__(self, index):
            nonlocal steps
            steps += isinstance(index, int)
            assert steps < 20 * len(self)
            return str.__getitem__(self, index)

        def replace(self, old, new):
            return CountingText(str.replace(self, old, new))

        def __add__(self, other):
            return CountingText(str.__add__(self, other))

    text = CountingText(piece * (100_000 // len(piece)))
    scan(text)
    assert steps >= len(text)


def test_long_caption():
    assert len(words("dog runs 1/2 " * 33_333)) == 99_999  # 1 s; minutes if it were not linear


def test_only_punctuation_and_spaces_are_removed(shared_data):
    for caption in real_captions(shared_data, "flickr8k")[:5000]:
        letters = re.sub(r"[^a-z0-9]", "", re.sub(r"-[lr][rsc]b-", "", " ".join(words(caption))))
        assert letters == re.sub(r"[^a-z0-9]", "", caption.lower())
