import json
import re
import unicodedata

import pytest

from data.tokens import words

# The marks that coco-caption takes out.
DROPPED = {"''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-"}
DROPPED |= {".", "?", "!", ",", ":", "-", "--", "...", ";"}

# Every right-hand side was given by Stanford CoreNLP 3.4.1 (PTBTokenizer -preserveLines -lowerCase)
# and then freed of DROPPED, as pycocoevalcap's ptbtokenizer.py does it.
CASES = {
    "A dog runs .": "a dog runs",
    "A dog runs.": "a dog runs",
    "The water. One man walks": "the water one man walks",
    "sidewalk..": "sidewalk",
    "wait ... what....": "wait what",
    ".neck .hit": "neck hit",
    "I cannot see it.": "i can not see it",
    "He's gonna wanna go, gimme that.": "he 's gon na wan na go gim me that",
    "Gotta go, lemme in": "got ta go lem me in",
    "Don't, won't, couldn't've": "do n't wo n't could n't 've",
    "I'M they're we've he'd he'll": "i 'm they 're we 've he 'd he 'll",
    "the dogs' owners and the dog's ball": "the dogs owners and the dog 's ball",
    "wal-mart's mcdonald's.": "wal-mart 's mcdonald 's",
    "o'clock ma'am o'neill Ho'ohu": "o'clock ma'am o'neill ho'ohu",
    "slip 'n slide, slip 'n' slide": "slip 'n slide slip 'n' slide",
    "rock'n'roll in the '90s": "rock 'n' roll in the '90s",
    "yellow slip n 'slide .": "yellow slip n slide",
    "'tis 'twas": "'t is 't was",
    "a 'b' \"quoted\" ``tex'' 5'": "a b quoted tex 5",
    "don\u2019t \u201cquote\u201d a \u2013 b\u2014c \u2026": "do n't quote a b c",
    "a U.S. flag in D.C.": "a u.s. flag in d.c.",
    "a t.v. set, an R.V.": "a t.v. set an r.v.",
    "near St. Louis, Mr. Smith vs. Dr. Who": "near st. louis mr. smith vs. dr. who",
    "East St. and Coxe Ave.": "east st. and coxe ave.",
    "lb. of meat, 6 in. tall": "lb of meat 6 in tall",
    "No. 5 is no.": "no. 5 is no",
    "Ill. and ill. Penn. and penn. La. and la. a": "ill. and ill penn. and penn. la. and la a",
    "plan b. next, by John F. Kennedy": "plan b. next by john f. kennedy",
    "A person I. A hood jacket": "a person i a hood jacket",
    "well-known-thing mid- air -ependent": "well-known-thing mid air ependent",
    "a--b -- c": "a b c",
    "20-year-old with a 2-1/2 1.5-inch": "20-year-old with a 2-1/2 1.5-inch",
    "and/or 1/2 either/ w/o w/ a": "and/or 1/2 either / w/o w / a",
    "50% off at $5.00 & #7 A&W AT&T b&w": "50 % off at $ 5.00 & # 7 a&w at&t b & w",
    "2,000 people at 3:30pm, 3 : 2": "2,000 people at 3:30 pm 3 2",
    "hello,world;a:b 0.5m 50cents 5ft.": "hello world a b 0.5 m 50cents 5ft",
    "-5 +5 -five 3+4": "-5 +5 five 3 +4",
    "5'11\" 6'2": "5 11 6 2",
    "what?! wow!!! yes! ok?": "what ?! wow !!! yes ok",
    "#hashtag @user x": "#hashtag @user x",
    "RIF=ding a_b * ~ ^ \\ |": "rif = ding a_b * ~ ^ \\ |",
    "(a) [b] {c}": "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb-",
    "caf\u00e9 na\u00efve \u65e5\u672c": "caf\u00e9 na\u00efve \u65e5\u672c",
    "\u00bd cup \u00a35 \u20ac5": "1/2 cup # 5 $ 5",
    "a red\x1b[31m ball": "a red -lsb- 31m ball",
    "bell\x07 and \x00 null\x7f csi\x9b2J": "bell and null csi 2j",
    "don\x92t say \x93hi\x94 a\x96b \x85 \x80 5": "do n't say hi a b $ 5",
    "soft\xadhyphen a \xad b": "softhyphen a b",
    "left \u202eright\u202c word\ufeff": "left right word",
    "zero\u200dwidth\u200cjoin": "zero width join",
    "http://www.foo.com/bar see www.x.com": "http://www.foo.com/bar see www.x.com",
    "": "",
    " \t\n ": "",
    "... - !": "",
}


@pytest.mark.parametrize("caption", CASES)
def test_words_are_those_of_the_ptb_tokeniser(caption):
    assert words(caption) == CASES[caption].split()


@pytest.mark.parametrize("caption", CASES)
def test_words_are_lower_case_without_spaces_or_dropped_marks(caption):
    for word in words(caption):
        assert word == word.lower() and word.split() == [word] and word not in DROPPED


# The tokeniser itself would cut a&w and take "ill." for "ill" once their capitals are gone.
CAPITALS = ("A&W", "Ill.")


@pytest.mark.parametrize("caption", [c for c in CASES if not any(word in c for word in CAPITALS)])
def test_words_joined_by_spaces_give_the_same_words(caption):
    assert words(" ".join(words(caption))) == words(caption)


def test_what_cannot_be_shown_is_in_no_word():
    """Nor in a web address, where the tokeniser itself would keep it."""
    turns = {"LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}  # of the direction
    for letter in map(chr, range(0x10000)):
        if (
            unicodedata.category(letter) in ("Cc", "Cs")
            or unicodedata.bidirectional(letter) in turns
        ):
            found = "".join(words(f"a{letter}b {letter} http://x.com/a{letter}b"))
            assert letter not in found, hex(ord(letter))


@pytest.mark.parametrize("mark", [".", "a.", "-", "'", "n't", "a'", "1.", "A&", "#a", " ", "?!"])
def test_long_nonsense_takes_no_long_time(mark):
    words(mark * 10_000)


def test_real_captions_have_lawful_words(shared_data):
    lines = (shared_data / "flickr8k" / "Flickr8k.token.txt").read_text("utf-8").splitlines()[:5000]
    file = json.loads((shared_data / "coco" / "captions_val2017_half.json").read_text("utf-8"))
    captions = [line.split("\t")[1] for line in lines]
    captions += [annotation["caption"] for annotation in file["annotations"][:1000]]
    for caption in captions:
        found = words(caption)
        assert words(" ".join(found)) == found and not DROPPED.intersection(found)
        # Nothing but marks and spaces is lost.
        letters = re.sub(r"[^a-z0-9]", "", re.sub(r"-[lr][rsc]b-", "", " ".join(found)))
        assert letters == re.sub(r"[^a-z0-9]", "", caption.lower())
