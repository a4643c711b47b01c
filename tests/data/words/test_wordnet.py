"""Synsets and hops: against exhaustive searches, the published lists, and broken files."""

import random
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from vl.data.errors import FormatError
from vl.data.words.wordnet import WordNet

ENTITY, ANIMAL, PET, DOG, CAT, POODLE, SAKI, MOON = (f"n0000000{n}" for n in range(1, 9))
WORDS = {
    ENTITY: ["entity"],
    ANIMAL: ["animal", "beast"],
    PET: ["pet"],
    DOG: ["dog", "domestic dog"],
    CAT: ["cat"],
    POODLE: ["poodle", "poodle dog"],
    SAKI: ["Munro", "H. H. Munro", "Saki"],
    MOON: ["moon"],
}
IS_A = [(ENTITY, ANIMAL), (ENTITY, PET), (ANIMAL, DOG), (PET, DOG), (ANIMAL, CAT), (DOG, POODLE)]


@pytest.fixture
def small():
    return WordNet(WORDS, IS_A)


def write_files(folder, *, words=None, is_a=None):
    """The small WordNet as files, or other content."""
    if words is None:
        words = "".join(f"{name}\t{', '.join(lemmas)}\n" for name, lemmas in WORDS.items())
    if is_a is None:
        is_a = "".join(f"{parent} {child}\n" for parent, child in IS_A)
    (folder / "words.txt").write_text(words, encoding="utf-8")
    (folder / "is_a.txt").write_text(is_a, encoding="utf-8")


def random_wordnet(seed, size=40):
    """A graph in several parts, of synsets with several parents, in any order."""
    rng = random.Random(seed)
    names = [f"n{index:08d}" for index in range(size)]
    order = rng.sample(names, size)  # a parent comes before its children
    pairs = [
        (order[parent], order[child])
        for child in range(1, size)
        for parent in rng.sample(range(child), min(child, rng.choice([0, 1, 1, 1, 2, 3])))
    ]
    return WordNet({name: [name] for name in names}, rng.sample(pairs, len(pairs))), pairs


def search(pairs, source, *, up=True, down=True):
    """Hops from a synset to each that can be reached, by breadth-first search over the pairs."""
    hops = {source: 0}
    queue = deque([source])
    while queue:
        name = queue.popleft()
        for parent, child in pairs:
            for begin, end, allowed in ((parent, child, down), (child, parent, up)):
                if allowed and begin == name and end not in hops:
                    hops[end] = hops[name] + 1
                    queue.append(end)
    return hops


def nearest_first(hops):
    return sorted(hops, key=lambda name: (hops[name], name))


@pytest.mark.parametrize("seed", range(5))
def test_hops_equal_exhaustive_search(seed):
    wordnet, pairs = random_wordnet(seed)
    expected = np.array(
        [[search(pairs, name).get(other, -1) for other in wordnet.ids] for name in wordnet.ids]
    )
    hops = np.array([wordnet.hops([name]) for name in wordnet.ids])
    assert (hops == expected).all()
    sources = slice(3, 9)
    reachable = np.where(expected < 0, 10_000, expected)
    nearest = reachable[sources].min(0)
    assert (wordnet.hops(wordnet.ids[sources]) == np.where(nearest == 10_000, -1, nearest)).all()
    # Hops are a distance.
    assert (hops == hops.T).all()
    assert (np.diag(hops) == 0).all()
    assert (reachable[:, None] <= reachable[:, :, None] + reachable[None]).all()


@pytest.mark.parametrize("seed", range(5))
def test_relatives_equal_exhaustive_search(seed):
    wordnet, pairs = random_wordnet(seed)
    for name in wordnet.ids:
        above, below = search(pairs, name, down=False), search(pairs, name, up=False)
        assert [name, *wordnet.ancestors(name)] == nearest_first(above)
        assert [name, *wordnet.descendants(name)] == nearest_first(below)
        assert wordnet.parents(name) == tuple(sorted(p for p, child in pairs if child == name))
        assert wordnet.children(name) == tuple(sorted(c for parent, c in pairs if parent == name))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("min_count", [1, 2, 5, 100])
def test_nearest_equals_exhaustive_search(seed, min_count):
    wordnet, pairs = random_wordnet(seed)
    candidates = set(random.Random(seed).sample(wordnet.ids, 20))
    mask = np.array([name in candidates for name in wordnet.ids])
    for name in wordnet.ids:
        hops = search(pairs, name)
        expected = [other for other in nearest_first(hops) if other in candidates]
        if len(expected) > min_count:  # the last hop is complete
            last = hops[expected[min_count - 1]]
            expected = [other for other in expected if hops[other] <= last]
        nearest = wordnet.nearest(name, mask, min_count=min_count)
        assert [wordnet.ids[row] for row in nearest.rows] == expected
        assert nearest.hops.tolist() == [hops[other] for other in expected]


def test_by_hand(small):
    assert len(small) == 8
    assert DOG in small and "n99999999" not in small
    assert small.words(DOG) == ("dog", "domestic dog")
    assert dict(small.lemmas()) == {name: tuple(lemmas) for name, lemmas in WORDS.items()}
    assert small.parents(DOG) == (ANIMAL, PET)
    assert small.children(ANIMAL) == (DOG, CAT)
    assert small.ancestors(POODLE) == (DOG, ANIMAL, PET, ENTITY)
    assert small.descendants(PET) == (DOG, POODLE)
    assert small.hops([CAT, MOON]).tolist() == [2, 1, 3, 2, 0, 3, -1, 0]
    assert small.rows([CAT, ENTITY]).tolist() == [4, 0]
    assert small.ancestors(SAKI) == small.descendants(SAKI) == ()


def test_order_of_pairs_does_not_matter(small):
    other = WordNet(WORDS, IS_A[::-1])
    for name in WORDS:
        assert small.ancestors(name) == other.ancestors(name)
        assert small.hops([name]).tolist() == other.hops([name]).tolist()


def test_load(small, tmp_path):
    write_files(tmp_path)
    wordnet = WordNet.load(tmp_path)
    assert wordnet.lemmas() == small.lemmas()
    assert [wordnet.parents(name) for name in WORDS] == [small.parents(name) for name in WORDS]
    with pytest.raises(FileNotFoundError):
        WordNet.load(tmp_path / "none")


def test_windows_line_ends_and_no_last_one(tmp_path):
    write_files(tmp_path, words=f"{DOG}\tdog, hound\r\n{CAT}\tcat", is_a=f"{DOG} {CAT}\r\n")
    wordnet = WordNet.load(tmp_path)
    assert wordnet.words(DOG) == ("dog", "hound")
    assert wordnet.children(DOG) == (CAT,)


CYCLE = f"{DOG} {CAT}\n{CAT} {PET}\n{PET} {DOG}\n{PET} {MOON}\n{MOON} {SAKI}\n{ENTITY} {DOG}\n"
LONG_CYCLE = "".join(
    f"{parent} {child}\n"
    for parent, child in pairwise([ENTITY, ANIMAL, PET, DOG, CAT, POODLE, ENTITY])
)


@pytest.mark.parametrize(
    ("name", "text", "line", "key_word"),
    [
        ("words", f"{DOG} dog\n", 1, "tab"),
        ("words", f"{DOG}\tdog\n\n", 2, "tab"),
        ("words", f"{DOG}\t\n", 1, "words"),
        ("words", f"{DOG}\tdog, \n", 1, "words"),
        ("words", "n4\tdog\n", 1, "id"),
        ("words", f"{DOG}\tdog\n{DOG}\thound\n", 2, "already"),
        ("is_a", f"{DOG} {CAT}\n{DOG}\n", 2, "two ids"),
        ("is_a", f"{DOG} {CAT}\n\n", 2, "two ids"),
        ("is_a", f"{DOG} {CAT}\n{CAT} n99999999\n", 2, "'n99999999'"),
        ("is_a", f"{DOG} {CAT} {PET}\n", 1, f"'{CAT} {PET}'"),
        ("is_a", f"{DOG} x\n{DOG} y\n", 1, "'x'"),
        ("is_a", f"{DOG} {CAT}\n" * 4, 2, "already"),
        ("is_a", f"{DOG} {DOG}\n", 1, f"cycle: {DOG} is a {DOG}$"),
        ("is_a", CYCLE, 3, f"cycle: {PET} is a {CAT} is a {DOG} is a {PET}$"),
        ("is_a", LONG_CYCLE, 6, r"cycle: (n\d{8} is a ){3}n\d{8} \.\.\."),
    ],
)
def test_refuses_broken_files(name, text, line, key_word, tmp_path):
    write_files(tmp_path, **{name: text})
    with pytest.raises(FormatError, match=rf"{name}\.txt: line {line}: .*{key_word}"):
        WordNet.load(tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_refuses_every_cycle(seed):
    wordnet, pairs = random_wordnet(seed)
    for name in wordnet.ids:
        for above in wordnet.ancestors(name):
            with pytest.raises(ValueError, match=f"pair {len(pairs)}: closes a cycle"):
                WordNet({each: [each] for each in wordnet.ids}, [*pairs, (name, above)])


def test_refuses_other_bytes_than_utf_8(tmp_path):
    write_files(tmp_path)
    (tmp_path / "words.txt").write_bytes(b"n00000001\tcaf\xe9\n")
    with pytest.raises(FormatError, match=r"words\.txt: .*UTF-8"):
        WordNet.load(tmp_path)


def test_refuses_unknown_synsets(small):
    with pytest.raises(ValueError, match=r"1 of 1 .*'dog'"):
        small.words("dog")
    with pytest.raises(ValueError, match=r"4 of 5 .*'a', 'b', 'c', \.\.\."):
        small.rows(["a", "b", DOG, "c", "d"])
    with pytest.raises(ValueError, match="pair 0: 'x'"):
        WordNet(WORDS, [("x", DOG)])


def test_read_list_keeps_order(small, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(f"{DOG}\n{CAT} cat, true cat\n{ENTITY}")  # as Caffe's synset_words.txt
    assert small.read_list(path) == (DOG, CAT, ENTITY)


@pytest.mark.parametrize(
    ("text", "key_word"),
    [
        (f"{DOG}\nn99999999\n", "line 2: 'n99999999'"),
        (f"{DOG}\n\n{CAT}\n", "line 2: ''"),
        (f"{DOG}\n{CAT}\n{DOG}\n", "line 3: .*line 1"),
        ("", "empty"),
    ],
)
def test_read_list_refuses_broken_files(text, key_word, small, tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=rf"labels\.txt: .*{key_word}"):
        small.read_list(path)


class NltkSynset(NamedTuple):
    """A synset with the interface of NLTK's."""

    row: int
    lemmas: tuple[str, ...]
    parents: tuple["NltkSynset", ...] = ()

    def pos(self):
        return "n"

    def offset(self):
        return 100 * self.row

    def lemma_names(self):
        return list(self.lemmas)

    def hypernyms(self):
        return list(self.parents)

    def instance_hypernyms(self):
        raise AssertionError("ImageNet's file has no edges of instances")


class NltkCorpus:
    """The part of NLTK's corpus reader that is used; without synsets the corpus is missing."""

    def __init__(self, *synsets):
        self.synsets = synsets

    def all_synsets(self, pos):
        assert pos == "n"
        if not self.synsets:
            raise LookupError("Resource wordnet not found.")
        return iter(self.synsets)


def test_from_nltk():
    entity = NltkSynset(0, ("entity",))
    dog = NltkSynset(1, ("dog", "domestic_dog"), (entity,))
    wordnet = WordNet.from_nltk(NltkCorpus(entity, dog, NltkSynset(2, ("H._H._Munro",))))
    assert wordnet.ids == ("n00000000", "n00000100", "n00000200")
    assert wordnet.words("n00000100") == ("dog", "domestic dog")
    assert wordnet.words("n00000200") == ("H. H. Munro",)
    assert wordnet.parents("n00000100") == ("n00000000",)
    with pytest.raises(FileNotFoundError, match=r"wordnet\.zip"):
        WordNet.from_nltk(NltkCorpus())


def test_nltks_wordnet_equals_imagenets(shared_data):
    try:
        wordnet = WordNet.load(Path("nltk"))
    except FileNotFoundError as error:
        assert "wordnet.zip" in str(error)
        pytest.skip("NLTK's corpus is not on this machine")
    published = WordNet.load(shared_data / "wordnet")
    assert wordnet.lemmas() == published.lemmas()
    for name in wordnet.ids:
        assert wordnet.parents(name) == published.parents(name)


def test_imagenets_files_and_zero_shot_lists(shared_data):
    folder = shared_data / "wordnet"
    wordnet = WordNet.load(folder)
    assert len(wordnet) == 82_115  # nouns of WordNet 3.0, by its statistics
    seen, two, three, every = (
        wordnet.read_list(folder / f"{name}.txt") for name in ("1k", "2-hops", "3-hops", "all")
    )
    assert [len(names) for names in (seen, two, three)] == [1000, 1549, 7860]
    assert not set(seen) & set(three)
    assert set(two) < set(three) < set(every)
    # What the two lists are in edges of the published graph; both were made on another one.
    hops = dict(zip(wordnet.ids, wordnet.hops(seen)))
    one_edge = {name for name in every if hops[name] == 1}
    assert [wordnet.words(name)[0] for name in set(two) ^ one_edge] == ["animal"]
    two_edges = {name for name in every if hops[name] in (1, 2)}
    assert len(two_edges - set(three)) == 7
    ancestors = [wordnet.words(name)[0] for name in wordnet.ancestors("n02084071")]
    assert ancestors[:2] == ["domestic animal", "canine"] and ancestors[-1] == "entity"
