"""The drawn world's kinds: a taxonomy that vl.data.words.wordnet reads, hops that the tree says."""

import pytest

from vl.data.words.label_lists import read_label_file
from vl.data.words.wordnet import WordNet
from vl.data.world.kinds import (
    FAMILIES,
    KINDS,
    OF,
    SEEN,
    UNSEEN,
    families,
    labels,
    plural,
    synset_ids,
    write_taxonomy,
)


@pytest.fixture
def wordnet(tmp_path):
    write_taxonomy(tmp_path)
    return WordNet.at(tmp_path)


def test_wordnet_reads_the_taxonomy(wordnet):
    ids = synset_ids()
    assert len(wordnet) == len(KINDS) + len(FAMILIES)
    assert wordnet.words(ids["cup"]) == ("cup", "mug")
    assert wordnet.parents(ids["cup"]) == (ids["vessel"],)
    assert wordnet.children(ids["hand tool"]) == (ids["hammer"], ids["key"], ids["spanner"])
    assert wordnet.parents(ids["thing"]) == ()


def test_every_kind_is_below_the_root_and_families_are_its_ancestors(wordnet):
    ids = synset_ids()
    for kind in KINDS:
        above = families(kind.name)
        assert above[-1] == "thing"
        assert wordnet.ancestors(ids[kind.name]) == tuple(ids[name] for name in above)


def test_unseen_kinds_are_as_many_hops_from_the_nearest_seen_one_as_they_say(wordnet):
    ids = synset_ids()
    hops = wordnet.hops(ids[name] for name in SEEN)
    for kind in KINDS:
        assert hops[wordnet.rows([ids[kind.name]])[0]] == kind.hops
    assert len(SEEN) >= 20
    assert [sum(kind.hops == hop for kind in KINDS) for hop in (2, 3)] == [9, 5]


def test_kinds_are_seen_or_unseen_and_each_word_is_of_one(wordnet):
    assert {*SEEN, *UNSEEN} == set(OF)
    assert not set(SEEN) & set(UNSEEN)
    words = [word for kind in KINDS for word in kind.words] + list(FAMILIES)
    assert len(words) == len(set(words))


def test_a_list_of_labels_is_read_with_its_ids(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(labels(("ring", "fish")))
    found = read_label_file(path)
    assert found.texts == ("ring, hoop", "fish")
    assert found.synsets == (synset_ids()["ring"], synset_ids()["fish"])
    assert found.notes == ()


@pytest.mark.parametrize(
    ("word", "several"),
    [
        ("ball", "balls"),
        ("butterfly", "butterflies"),
        ("key", "keys"),
        ("cross", "crosses"),
        ("fish", "fish"),
        ("bush", "bushes"),
        ("torch", "torches"),
        ("box", "boxes"),
    ],
)
def test_plurals_are_as_english_has_them(word, several):
    assert plural(word) == several
