"""Folded spellings, singulars and plurals."""

import numpy as np
import pytest

from vl.data.words.word_forms import fold_spelling, number_forms, plurals, singulars

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


LIKELIEST = """corpses corpse|rams ram|tenses tense|asses ass|gnus gnu|gurus guru|bureaus bureau
fezes fez|blitzes blitz|lenses lens|buses bus|roses rose|vases vase|causes cause
circuses circus|noises noise
trellises trellis|theses thesis|analyses analysis|synopses synopsis|caribous caribou|mazes maze
fezzes fez|quizzes quiz|sneezes sneeze|waltzes waltz|headaches headache|peaches peach
niches niche|sandwiches sandwich|shoes shoe|toes toe|potatoes potato|heroes hero
pies pie|berries berry
gloves glove|olives olive|wolves wolf|valves valve|scarves scarf|nerves nerve|leaves leaf
services service|indices index|vertices vertex|matrices matrix|algae alga|bureaux bureau
stomata stoma|phenomena phenomenon|prairie_dogs prairie_dog|zebus zebu|red_gnus red_gnu
chests_of_drawers chest_of_drawers|mothers-in-law mother-in-law|men-of-war man-of-war
passers-by passer-by"""


@pytest.mark.parametrize("pair", LIKELIEST.replace("\n", "|").split("|"))
def test_likeliest_singular(pair):
    plural, singular = pair.split()
    assert singulars(plural)[0] == singular
    if plural.endswith("s"):
        assert number_forms(plural)[0] == singular


@pytest.mark.parametrize(
    "word", ["dog's", "dogs'", "st._bernard's", "carpenter\u2019s", "carpenters\u2019"]
)
def test_a_genitive_is_no_plural(word):
    assert singulars(word) == []


def regular_plural(noun):
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    if noun.endswith(("sis", "xis")):
        return noun[:-2] + "es"
    return noun + ("es" if noun.endswith(("s", "x", "z", "ch", "sh")) else "s")


def test_shares_that_are_right_of_wordnet(shared_data):
    """All of noun.exc, and the regular plurals of all other nouns of one word."""
    folder = shared_data / "nltk_data" / "corpora" / "wordnet"
    lines = (folder / "index.noun").read_text().splitlines()
    nouns = {line.split(" ", 1)[0] for line in lines if not line.startswith(" ")}
    exceptions = {}
    for line in (folder / "noun.exc").read_text().splitlines():
        plural, *of = line.split()
        exceptions.setdefault(plural, set()).update(of)
    irregular = set().union(*exceptions.values())
    regular = {}
    for noun in nouns - irregular - exceptions.keys():
        if noun.isalpha() and noun.isascii() and len(noun) > 2:
            regular.setdefault(regular_plural(noun), set()).add(noun)
    assert (len(exceptions), len(regular)) == (2050, 53343)
    shares = []
    for plural_of in (exceptions, regular):
        found = {plural: singulars(plural) for plural in plural_of}
        likeliest = sum(forms[:1] != [] and forms[0] in plural_of[p] for p, forms in found.items())
        known = [
            next((form for form in forms if form in nouns or form in irregular), None)
            in plural_of[p]
            for p, forms in found.items()
        ]
        shares += [likeliest / len(found), sum(known) / len(found)]
    print(*(f"{share:.4f}" for share in shares))
    assert np.all(np.array(shares) >= [0.68, 0.77, 0.953, 0.997])


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
