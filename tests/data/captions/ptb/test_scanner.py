import random
import re

import pytest

from vl.data.captions.ptb.scanner import Match, Rule, Scanner


def split(scanner, text):
    """All matches as (rule, text), and the characters between them."""
    parts, position, dead_ends = [], 0, set()
    while position < len(text):
        match = scanner.match(text, position, dead_ends)
        end = match.end if match else position + 1
        part = text[position:end]
        parts.append((match.rule, part) if match else part)
        position = end
    return parts


def split_slowly(rules, text):
    """The same by trying every rule on every substring."""
    parts, position = [], 0
    while position < len(text):
        ends = range(len(text), position, -1)
        matches = (
            (index, end)
            for end in ends
            for index, rule in enumerate(rules)
            if re.fullmatch(f"(?:{rule.body})(?:{rule.context or ''})", text[position:end])
        )
        index, end = next(matches, (None, position + 1))
        if index is not None and rules[index].context is not None:
            end = next(
                middle
                for middle in range(end, position, -1)
                if re.fullmatch(rules[index].body, text[position:middle])
                and re.fullmatch(rules[index].context, text[middle:end])
            )
        part = text[position:end]
        parts.append(part if index is None else (index, part))
        position = end
    return parts


EXPRESSIONS = [
    "1", "12", "1+", "(1|2)+3", "12?3*", "[12]+", "[^1]2", "(12)*3", "1{2}", "(1|23){1,2}",
    "3[^3]*2", "(1(2|3))+", "[1-2]3?", "2|3|31", "(1?2)+", "1[23]{2,3}",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_equals_exhaustive_search(seed):
    rng = random.Random(seed)
    rules = [
        Rule(rng.choice(EXPRESSIONS), rng.choice([None, None, *EXPRESSIONS]))
        for _ in range(rng.randint(1, 5))
    ]
    scanner = Scanner(rules, {})
    for _ in range(20):
        text = "".join(rng.choice("1234") for _ in range(rng.randint(0, 9)))
        assert split(scanner, text) == split_slowly(rules, text), (rules, text)


def test_longest_match_then_first_rule():
    scanner = Scanner([Rule("if"), Rule("[a-z]+")], {})
    assert split(scanner, "if iffy") == [(0, "if"), " ", (1, "iffy")]


def test_context_is_not_part_of_match():
    scanner = Scanner([Rule("a+", "ab"), Rule("[a-z]")], {})
    assert split(scanner, "aaab") == [(0, "aa"), (1, "a"), (1, "b")]


def test_letters_match_both_cases_except_in_sets():
    scanner = Scanner([Rule("ab"), Rule("[c]d")], {})
    assert split(scanner, "aBABcDCd") == [(0, "aB"), (0, "AB"), (1, "cD"), "C", "d"]


def test_definitions_use_earlier_ones():
    scanner = Scanner([Rule("{pair} +")], {"one": "1|2", "pair": "{one}{one}"})
    assert split(scanner, "12112") == [(0, "1211"), "2"]


def test_escapes():
    scanner = Scanner([Rule(r"\*\x41[\u2019\-\]]\t")], {})
    assert scanner.match("*a-\t", 0, set()) == Match(0, 4)
    assert scanner.match("*A]\t", 0, set()) == Match(0, 4)
    assert scanner.match("*A\u2019 ", 0, set()) is None


def test_complement_covers_all_characters():
    scanner = Scanner([Rule("[^a-c\U0001f600]")], {})
    others = ["d", "\U0010ffff", "\x00"]
    assert split(scanner, "a\U0001f600" + "".join(others)) == [
        *"a\U0001f600", *((0, other) for other in others),
    ]  # fmt: skip
