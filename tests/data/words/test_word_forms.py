"""Folded spellings, singulars and plurals."""

import pytest

from vl.data.words.word_forms import fold_spelling, plurals, singulars

PAIRS = """cat cats|berry berries|toy toys|box boxes|church churches|dish dishes|glass glasses
bus buses|potato potatoes|piano pianos|wolf wolves|knife knives|roof roofs|man men|fireman firemen
human humans|child children|grandchild grandchildren|goose geese|tooth teeth|foot feet
mouse mice|dormouse dormice|cactus cacti|larva larvae|bacterium bacteria|crisis crises
vertex vertices|matrix matrices|chateau chateaux|horse horses|cookie cookies|axe axes|house houses
quiz quizzes|buzz buzzes|golden_retriever golden_retrievers"""


@pytest.mark.parametrize("pair", PAIRS.replace("\n", "|").split("|"))
def test_singular_and_plural_lead_to_each_other(pair):
    singular, plural = pair.split()
    assert singular in singulars(plural)
    if singular not in ("quiz",):  # nothing doubles its z but this
        assert plural in plurals(singular)


@pytest.mark.parametrize("word", ["glass", "bus", "cactus", "cat", "titi", "a", "s", ""])
def test_words_without_singular(word):
    assert singulars(word) == []


def test_order_of_forms():
    assert plurals("berry") == ["berries", "berrys"]
    assert plurals("cat") == ["cats"]
    assert plurals("box")[0] == "boxes"
    assert singulars("berries")[0] == "berry"
    assert singulars("firemen") == ["fireman"]


@pytest.mark.parametrize(
    ("word", "same"),
    [
        ("T-shirt", "tshirt"),
        ("tee_shirt", "teeshirt"),
        ("carpenter's", "carpenters"),
        ("carpenter\u2019s", "carpenters"),
        ("Pâté", "pate"),
        ("A\u030angstro\u0308m", "angstrom"),
        ("Straße", "strasse"),
        ("Œuvre", "oeuvre"),
        ("Øre", "ore"),
        ("cat", "cat"),
        ("漢字", "漢字"),
    ],
)
def test_spellings_that_mean_the_same_fold_to_the_same(word, same):
    assert fold_spelling(word) == same
    assert fold_spelling(fold_spelling(word)) == same


def test_singular_of_okapis():
    assert singulars("okapis") == ["okapi"]
