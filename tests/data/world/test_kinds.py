"""The drawn world's kinds: a taxonomy that vl.data.words.wordnet reads, and hops within it."""

import pytest

from vl.data.words.label_lists import read_label_file
from vl.data.words.wordnet import WordNet
from vl.data.world.kinds import (
    FAMILIES,
    KIND_BY_NAME,
    KINDS,
    SEEN,
    UNSEEN,
    ancestors,
    label_list,
    plural,
    synset_ids,
    write_taxonomy,
)

IDS = synset_ids()


@pytest.fixture
def wordnet(tmp_path):
    write_taxonomy(tmp_path)
    return WordNet.load(tmp_path)


def test_wordnet_reads_the_taxonomy(wordnet):
    assert len(wordnet) == len(KINDS) + len(FAMILIES)
    assert wordnet.words(IDS["cup"]) == ("cup", "mug")
    assert wordnet.parents(IDS["cup"]) == (IDS["vessel"],)
    assert wordnet.children(IDS["hand tool"]) == (IDS["hammer"], IDS["key"], IDS["spanner"])
    assert wordnet.parents(IDS["thing"]) == ()


def test_every_kind_is_below_the_root_and_families_are_its_ancestors(wordnet):
    for kind in KINDS:
        families = ancestors(kind.name)
        assert families[-1] == "thing"
        assert wordnet.ancestors(IDS[kind.name]) == tuple(IDS[name] for name in families)


def test_hops_of_unseen_kinds_are_those_of_the_taxonomy(wordnet):
    hops = wordnet.hops(IDS[name] for name in SEEN)
    for kind in KINDS:
        assert hops[wordnet.rows([IDS[kind.name]])[0]] == kind.hops
    assert len(SEEN) >= 20
    assert [sum(kind.hops == hop for kind in KINDS) for hop in (2, 3)] == [9, 5]


def test_kinds_are_seen_or_unseen_and_each_word_has_one_meaning():
    assert {*SEEN, *UNSEEN} == set(KIND_BY_NAME)
    assert not set(SEEN) & set(UNSEEN)
    words = [word for kind in KINDS for word in kind.words] + list(FAMILIES)
    assert len(words) == len(set(words))


def test_label_list_is_read_with_its_ids(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(label_list(("ring", "fish")))
    listed = read_label_file(path)
    assert listed.texts == ("ring, hoop", "fish")
    assert listed.synsets == (IDS["ring"], IDS["fish"])
    assert listed.notes == ()


def test_plurals():
    words = "ball butterfly key cross fish bush torch box"
    plurals = "balls butterflies keys crosses fish bushes torches boxes"
    assert [plural(word) for word in words.split()] == plurals.split()
