import random
import re

import pytest

from vl.data.captions.ptb.scanner import Match, Rule, Scanner


def scanned(scanner, text):
    """All matches as (rule, text), single characters that nothing matches as they are."""
    found, place, vain = [], 0, set()
    while place < len(text):
        match = scanner.match(text, place, vain)
        if match is None:
            found.append(text[place])
            place += 1
        else:
            found.append((match.rule, text[place : match.end]))
            place = match.end
    return found


def plainly(rules, text):
    """The same by trying every rule on every piece."""
    found, place = [], 0
    while place < len(text):
        best = None
        for number, rule in enumerate(rules):
            for end in range(place + 1, len(text) + 1):
                whole = f"(?:{rule.body})(?:{rule.context or ''})"
                if re.fullmatch(whole, text[place:end]) and (best is None or end > best[1]):
                    best = (number, end)
        if best is None:
            found.append(text[place])
            place += 1
            continue
        rule, end = rules[best[0]], best[1]
        if rule.context is not None:
            end = next(
                middle
                for middle in range(end, place, -1)
                if re.fullmatch(rule.body, text[place:middle])
                and re.fullmatch(rule.context, text[middle:end])
            )
        found.append((best[0], text[place:end]))
        place = end
    return found


EXPRESSIONS = [
    "1", "12", "1+", "(1|2)+3", "12?3*", "[12]+", "[^1]2", "(12)*3", "1{2}", "(1|23){1,2}",
    "3[^3]*2",
    "(1(2|3))+", "[1-2]3?", "2|3|31", "(1?2)+", "1[23]{2,3}",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(60))
def test_matches_are_those_of_trying_every_rule_on_every_piece(seed):
    draw = random.Random(seed)
    rules = [
        Rule(str(n), draw.choice(EXPRESSIONS), draw.choice([None, None, *EXPRESSIONS]))
        for n in range(draw.randint(1, 5))
    ]
    rules = [rule for rule in rules if not re.fullmatch(rule.body, "")]
    if not rules:
        return
    scanner = Scanner(rules, {})
    for _ in range(20):
        text = "".join(draw.choice("1234") for _ in range(draw.randint(0, 9)))
        assert scanned(scanner, text) == plainly(rules, text), (rules, text)


def test_of_equals_the_first_rule_wins_and_the_longest_of_all():
    scanner = Scanner([Rule("if", "if"), Rule("name", "[a-z]+")], {})
    assert scanned(scanner, "if iffy") == [(0, "if"), " ", (1, "iffy")]


def test_a_context_must_follow_and_is_not_taken():
    scanner = Scanner([Rule("before b", "a+", "ab"), Rule("any", "[a-z]")], {})
    assert scanned(scanner, "aaab") == [(0, "aa"), (1, "a"), (1, "b")]


def test_letters_stand_for_both_cases_but_not_in_brackets():
    scanner = Scanner([Rule("both", "ab"), Rule("one", "[c]d")], {})
    assert scanned(scanner, "aBABcDCd") == [(0, "aB"), (0, "AB"), (1, "cD"), "C", "d"]


def test_definitions_are_used_by_name_and_by_later_ones():
    scanner = Scanner([Rule("pair", "{pair}+")], {"one": "1|2", "pair": "{one}{one}"})
    assert scanned(scanner, "12112") == [(0, "1211"), "2"]


def test_escapes_stand_for_a_character():
    scanner = Scanner([Rule("odd", r"\*\x41[\u2019\-\]]\t")], {})
    assert scanner.match("*a-\t", 0, set()) == Match(0, 4)
    assert scanner.match("*A]\t", 0, set()) == Match(0, 4)
    assert scanner.match("*A\u2019 ", 0, set()) is None


def test_other_than_a_set_is_every_character_there_is():
    scanner = Scanner([Rule("other", "[^a-c\U0001f600]")], {})
    assert scanned(scanner, "abc\U0001f600d\U0010ffff\x00") == [
        *"abc\U0001f600", (0, "d"), (0, "\U0010ffff"), (0, "\x00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("a*", "'r' matches the empty text"),
        ("(a", "unclosed bracket at 2 of"),
        ("a)", "unexpected character at 1"),
        ("*a", "unexpected character at 0"),
        ("{nothing}", "no definition of 'nothing'"),
        ("a{2", "unclosed bracket"),
        ("[a", "unclosed bracket"),
    ],
)
def test_a_rule_that_is_not_written_as_it_should_be_is_refused(rule, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Scanner([Rule("r", rule)], {})
