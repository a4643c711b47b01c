"""Synsets and hops against plain searches, the published lists, and files with faults in them."""

import random
import warnings
from collections import deque
from itertools import pairwise
from pathlib import Path

import nltk
import numpy as np
import pytest
from nltk.corpus.reader.wordnet import WordNetCorpusReader

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
def small() -> WordNet:
    return WordNet(WORDS, IS_A)


def files(folder: Path, *, words: str | None = None, is_a: str | None = None) -> tuple[Path, Path]:
    """The small WordNet as files, or what stands in their place."""
    if words is None:
        words = "".join(f"{name}\t{', '.join(each)}\n" for name, each in WORDS.items())
    if is_a is None:
        is_a = "".join(f"{parent} {child}\n" for parent, child in IS_A)
    (folder / "words.txt").write_text(words, encoding="utf-8")
    (folder / "is_a.txt").write_text(is_a, encoding="utf-8")
    return folder / "words.txt", folder / "is_a.txt"


def drawn(seed: int, size: int = 40) -> tuple[WordNet, list[tuple[str, str]]]:
    """A graph in several parts, of synsets with several parents, numbered in any order."""
    draw = random.Random(seed)
    names = [f"n{number:08d}" for number in range(size)]
    order = draw.sample(names, size)  # a parent comes before its children
    pairs = [
        (order[parent], order[child])
        for child in range(1, size)
        for parent in draw.sample(range(child), min(child, draw.choice([0, 1, 1, 1, 2, 3])))
    ]
    return WordNet({name: [name] for name in names}, draw.sample(pairs, len(pairs))), pairs


def plain_hops(
    pairs: list[tuple[str, str]], source: str, *, up: bool = True, down: bool = True
) -> dict[str, int]:
    """A search by queue over pairs."""
    found = {source: 0}
    queue = deque([source])
    while queue:
        name = queue.popleft()
        for parent, child in pairs:
            for here, there, may in ((parent, child, down), (child, parent, up)):
                if may and here == name and there not in found:
                    found[there] = found[name] + 1
                    queue.append(there)
    return found


def nearest_first(found: dict[str, int]) -> list[str]:
    return [name for _, name in sorted((far, name) for name, far in found.items())]


@pytest.mark.parametrize("seed", range(5))
def test_hops_agree_with_a_plain_search(seed: int) -> None:
    wordnet, pairs = drawn(seed)
    plain = {name: plain_hops(pairs, name) for name in wordnet.ids}
    for name in wordnet.ids:
        expected = [plain[name].get(other, -1) for other in wordnet.ids]
        assert wordnet.hops([name]).tolist() == expected
        assert [wordnet.distance(name, other) for other in wordnet.ids] == [
            plain[name].get(other) for other in wordnet.ids
        ]
    sources = list(wordnet.ids[3:9])
    from_any = [
        min((plain[name][other] for name in sources if other in plain[name]), default=-1)
        for other in wordnet.ids
    ]
    assert wordnet.hops(sources).tolist() == from_any
    for hops in range(4):
        assert wordnet.within(sources, hops) == tuple(
            name for name, far in zip(wordnet.ids, from_any, strict=True) if 0 <= far <= hops
        )


@pytest.mark.parametrize("seed", range(5))
def test_ancestors_and_descendants_agree_with_a_plain_search(seed: int) -> None:
    wordnet, pairs = drawn(seed)
    for name in wordnet.ids:
        for found, plain in (
            (wordnet.ancestors(name), plain_hops(pairs, name, down=False)),
            (wordnet.descendants(name), plain_hops(pairs, name, up=False)),
        ):
            del plain[name]
            assert list(found) == nearest_first(plain)
        assert wordnet.parents(name) == tuple(sorted(p for p, child in pairs if child == name))
        assert wordnet.children(name) == tuple(sorted(c for parent, c in pairs if parent == name))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at_least", [1, 2, 5, 100])
def test_the_nearest_agree_with_growing_one_hop_at_a_time(seed: int, at_least: int) -> None:
    wordnet, pairs = drawn(seed)
    draw = random.Random(seed)
    wanted = set(draw.sample(wordnet.ids, 20))
    among = np.array([name in wanted for name in wordnet.ids])
    for name in wordnet.ids:
        plain = plain_hops(pairs, name)
        near: set[str] = set()
        hop = 0
        while len(near) < at_least and hop <= max(plain.values()):
            near |= {other for other, far in plain.items() if far == hop} & wanted
            hop += 1
        found = wordnet.nearest(name, among, min_count=at_least)
        ids = [wordnet.ids[row] for row in found.rows]
        assert ids == [other for other in nearest_first(plain) if other in near]
        assert found.hops.tolist() == [plain[other] for other in ids]


@pytest.mark.parametrize("seed", range(3))
def test_a_way_back_is_as_long_and_no_detour_is_shorter(seed: int) -> None:
    wordnet, _ = drawn(seed, size=20)
    far = np.array([wordnet.hops([name]) for name in wordnet.ids])
    assert (far == far.T).all()
    assert (np.diag(far) == 0).all()
    far = np.where(far < 0, 10_000, far)
    assert (far[:, None] <= far[:, :, None] + far[None]).all()


def test_by_hand(small: WordNet) -> None:
    assert len(small) == 8
    assert DOG in small and "n99999999" not in small
    assert small.words(DOG) == ("dog", "domestic dog")
    assert small.parents(DOG) == (ANIMAL, PET)
    assert small.children(ANIMAL) == (DOG, CAT)
    assert small.ancestors(POODLE) == (DOG, ANIMAL, PET, ENTITY)
    assert small.descendants(PET) == (DOG, POODLE)
    assert small.distance(PET, CAT) == 3  # by the dog and the animal, or by the entity
    assert small.distance(DOG, SAKI) is None
    assert small.hops([CAT, MOON]).tolist() == [2, 1, 3, 2, 0, 3, -1, 0]
    assert small.within([POODLE], 2) == (ANIMAL, PET, DOG, POODLE)
    assert small.rows([CAT, ENTITY]).tolist() == [4, 0]
    assert small.ancestors(SAKI) == small.descendants(SAKI) == ()


def test_the_order_of_the_pairs_changes_nothing(small: WordNet) -> None:
    other = WordNet(WORDS, IS_A[::-1])
    for name in WORDS:
        assert small.ancestors(name) == other.ancestors(name)
        assert small.hops([name]).tolist() == other.hops([name]).tolist()


def test_files_say_the_same(small: WordNet, tmp_path: Path) -> None:
    words, is_a = files(tmp_path)
    read = WordNet.from_files(words, is_a=is_a)
    assert read.ids == small.ids
    assert [read.words(name) for name in WORDS] == [small.words(name) for name in WORDS]
    assert [read.parents(name) for name in WORDS] == [small.parents(name) for name in WORDS]


def test_the_last_line_may_end_or_not_and_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    words, is_a = files(tmp_path, words=f"{DOG}\tdog, hound\r\n{CAT}\tcat", is_a=f"{DOG} {CAT}\r\n")
    read = WordNet.from_files(words, is_a=is_a)
    assert read.words(DOG) == ("dog", "hound")
    assert read.children(DOG) == (CAT,)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("words", f"{DOG} dog\n", r"words\.txt: line 1: expected an id .*, not 'n00000004 dog'"),
        ("words", f"{DOG}\tdog\n\n", r"words\.txt: line 2: expected an id .*, not ''"),
        ("words", f"{DOG}\t\n", r"words\.txt: line 1: expected an id"),
        ("words", f"{DOG}\tdog, \n", r"words\.txt: line 1: expected an id"),
        ("words", "n4\tdog\n", r"words\.txt: line 1: expected an id"),
        ("words", f"{DOG}\tdog\n{DOG}\thound\n", r"words\.txt: line 2: n00000004 is there already"),
        ("is_a", f"{DOG} {CAT}\n{DOG}\n", r"is_a\.txt: line 2: expected two ids .*'n00000004'"),
        ("is_a", f"{DOG} {CAT}\n\n", r"is_a\.txt: line 2: expected two ids"),
        ("is_a", f"{DOG} {CAT}\n{CAT} n99999999\n", r"is_a\.txt: line 2: 'n99999999' has no words"),
        ("is_a", f"{DOG} {CAT} {PET}\n", r"is_a\.txt: line 1: 'n00000005 n00000003' has no words"),
        ("is_a", f"{DOG} {CAT}\n{DOG} {CAT}\n", r"is_a\.txt: line 2: .* is there already"),
        ("is_a", f"{DOG} x\n{DOG} y\n", r"is_a\.txt: line 1: 'x' has no words"),
        ("is_a", f"{DOG} {CAT}\n" * 4, r"is_a\.txt: line 2: n00000004 n00000005 is there already"),
        ("is_a", f"{DOG} {DOG}\n", r"is_a\.txt: line 1: closes a cycle: n00000004 is a n00000004"),
        (
            "is_a",
            f"{DOG} {CAT}\n{CAT} {PET}\n{PET} {DOG}\n{PET} {MOON}\n{MOON} {SAKI}\n{ENTITY} {DOG}\n",
            r"is_a\.txt: line 3: closes a cycle: n00000003 is a n00000005 is a n00000004 is a n000"
            r"00003$",
        ),
    ],
)
def test_a_fault_names_file_and_line(name: str, text: str, message: str, tmp_path: Path) -> None:
    words, is_a = files(tmp_path, **{name: text})
    with pytest.raises(FormatError, match=message):
        WordNet.from_files(words, is_a=is_a)


def test_a_long_circle_is_shown_in_part(tmp_path: Path) -> None:
    circle = [ENTITY, ANIMAL, PET, DOG, CAT, POODLE, ENTITY]
    lines = "".join(f"{one} {other}\n" for one, other in pairwise(circle))
    words, is_a = files(tmp_path, is_a=lines)
    with pytest.raises(
        FormatError, match=r"line 6: closes a cycle: (n\d{8} is a ){3}n\d{8} \.\.\."
    ):
        WordNet.from_files(words, is_a=is_a)


@pytest.mark.parametrize("seed", range(5))
def test_any_pair_turned_round_between_relatives_closes_a_circle(seed: int) -> None:
    wordnet, pairs = drawn(seed)
    for name in wordnet.ids:
        for above in wordnet.ancestors(name):
            with pytest.raises(ValueError, match=f"is-a pair {len(pairs)}: closes a cycle"):
                WordNet({each: [each] for each in wordnet.ids}, [*pairs, (name, above)])


def test_other_bytes_than_text_are_refused(tmp_path: Path) -> None:
    words, is_a = files(tmp_path)
    words.write_bytes(b"n00000001\tcaf\xe9\n")
    with pytest.raises(FormatError, match=r"words\.txt: .*not UTF-8"):
        WordNet.from_files(words, is_a=is_a)
    with pytest.raises(FileNotFoundError):
        WordNet.from_files(tmp_path / "none.txt", is_a=is_a)


def test_wrong_use_is_refused(small: WordNet) -> None:
    with pytest.raises(ValueError, match="1 of 1 are no synsets of this WordNet: 'dog'"):
        small.words("dog")
    with pytest.raises(ValueError, match=r"4 of 5 are no synsets .*: 'a', 'b', 'c', \.\.\."):
        small.rows(["a", "b", DOG, "c", "d"])
    with pytest.raises(ValueError, match="is-a pair 0: 'x' has no words"):
        WordNet(WORDS, [("x", DOG)])


def test_a_list_of_labels_keeps_its_order(small: WordNet, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(f"{DOG}\n{CAT}\n{ENTITY}\n")
    assert small.read_list(path) == (DOG, CAT, ENTITY)
    path.write_text(f"{DOG} dog, domestic dog\n{CAT} cat")  # as Caffe's synset_words.txt
    assert small.read_list(path) == (DOG, CAT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{DOG}\nn99999999\n", r"labels\.txt: line 2: 'n99999999' is no synset"),
        (f"{DOG}\n\n{CAT}\n", r"labels\.txt: line 2: '' is no synset"),
        (f"{DOG}\n{CAT}\n{DOG}\n", r"labels\.txt: line 3: n00000004 is on line 1 already"),
        ("", r"labels\.txt: the file is empty"),
    ],
)
def test_a_fault_in_a_list_names_its_line(
    text: str, message: str, small: WordNet, tmp_path: Path
) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text)
    with pytest.raises(FormatError, match=message):
        small.read_list(path)


# A WordNet database of NLTK's format: words, what each is a kind of, and an instance of.
NOUNS = [
    (("entity",), (), ()),
    (("animal", "animate_being"), (0,), ()),
    (("pet",), (0,), ()),
    (("dog", "domestic_dog"), (1, 2), ()),
    (("Saki", "H._H._Munro"), (), (0,)),
]


class Reader(WordNetCorpusReader):  # type: ignore[misc]  # NLTK has no types
    """NLTK's own, but for the way to other versions, for which it opens the corpus it knows."""

    def map_wn(self, version: str = "wordnet") -> None:
        return None


def nltk_database(folder: Path) -> list[int]:
    """Write the nouns; returns each one's offset in the file, which is its number in WordNet."""
    for name in WordNetCorpusReader._FILES:
        (folder / name).touch()
    (folder / "lexnames").write_text("".join(f"{n:02d}\tx\t1\n" for n in range(45)))
    title = "  1 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.\n"
    (folder / "data.adj").write_text(title)
    line = "{:08d} 03 n {:02x} {} {:03d} {}| a gloss\n"

    def record(number: int, offsets: list[int]) -> str:
        words, kinds, instances = NOUNS[number]
        pointers = [("@", offsets[other]) for other in kinds]
        pointers += [("@i", offsets[other]) for other in instances]
        return line.format(
            offsets[number],
            len(words),
            " ".join(f"{word} 0" for word in words),
            len(pointers),
            "".join(f"{symbol} {offset:08d} n 0000 " for symbol, offset in pointers),
        )

    offsets: list[int] = []
    size = len(title)
    for number in range(len(NOUNS)):
        offsets.append(size)
        size += len(record(number, [0] * len(NOUNS)))
    text = "".join(record(number, offsets) for number in range(len(NOUNS)))
    (folder / "data.noun").write_text(title + text)
    index = [
        f"{word.lower()} n 1 0 1 0 {offset:08d}\n"
        for (words, _, _), offset in zip(NOUNS, offsets, strict=True)
        for word in words
    ]
    (folder / "index.noun").write_text("".join(sorted(index)))
    return offsets


def test_nltks_nouns_are_read_by_its_own_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsets = nltk_database(tmp_path)
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])  # it reads nowhere else
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there are no other languages
        reader = Reader(str(tmp_path), None)
    wordnet = WordNet.from_nltk(reader)
    for stream in reader._data_file_map.values():  # which it keeps open
        stream.close()
    names = [f"n{offset:08d}" for offset in offsets]
    assert wordnet.ids == tuple(names)
    assert wordnet.words(names[3]) == ("dog", "domestic dog")
    assert wordnet.words(names[4]) == ("Saki", "H. H. Munro")
    assert wordnet.parents(names[3]) == (names[1], names[2])
    assert wordnet.ancestors(names[3]) == (names[1], names[2], names[0])
    assert wordnet.children(names[0]) == (names[1], names[2])  # an instance is no kind


def test_without_nltks_corpus_a_sentence_says_what_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    # A loader of our own: NLTK's one reads from memory once it has found the corpus.
    corpus = nltk.corpus.util.LazyCorpusLoader("wordnet", WordNetCorpusReader, None)
    with pytest.raises(
        FileNotFoundError, match=r"corpora/wordnet\.zip .* nltk\.download\('wordnet'"
    ):
        WordNet.from_nltk(corpus)


def test_nltks_wordnet_is_imagenets(shared_data: Path) -> None:
    try:
        found = WordNet.from_nltk()
    except FileNotFoundError:
        pytest.skip("NLTK's corpus is not on this machine")
    published = published_wordnet(shared_data)
    assert found.ids == published.ids
    for name in found.ids:
        assert found.words(name) == published.words(name)
        assert found.parents(name) == published.parents(name)


def published_wordnet(shared_data: Path) -> WordNet:
    folder = shared_data / "wordnet"
    return WordNet.from_files(folder / "words.txt", is_a=folder / "is_a.txt")


def test_imagenets_files_are_read_and_its_lists_have_their_published_sizes(
    shared_data: Path,
) -> None:
    wordnet = published_wordnet(shared_data)
    assert len(wordnet) == 82_115  # nouns of WordNet 3.0, by its statistics
    folder = shared_data / "wordnet"
    lists = {
        name: wordnet.read_list(folder / f"{name}.txt")
        for name in ("1k", "2-hops", "3-hops", "all")
    }
    assert [len(lists[name]) for name in ("1k", "2-hops", "3-hops")] == [1000, 1549, 7860]
    assert not set(lists["1k"]) & set(lists["3-hops"])
    assert set(lists["2-hops"]) < set(lists["3-hops"]) < set(lists["all"])
    # What the two lists are in edges of the published graph; both were made on another one.
    one_edge = set(wordnet.within(lists["1k"], 1)) & set(lists["all"]) - set(lists["1k"])
    assert [wordnet.words(name)[0] for name in set(lists["2-hops"]) ^ one_edge] == ["animal"]
    two_edges = set(wordnet.within(lists["1k"], 2)) & set(lists["all"]) - set(lists["1k"])
    assert len(two_edges - set(lists["3-hops"])) == 7
    dog = wordnet.ancestors("n02084071")
    assert [wordnet.words(name)[0] for name in dog[:2]] == ["domestic animal", "canine"]
    assert wordnet.words(dog[-1]) == ("entity",)


def test_a_flag_names_a_folder_or_nltk(tmp_path, monkeypatch):
    files(tmp_path)
    assert WordNet.load(tmp_path).words(DOG) == ("dog", "domestic dog")
    wanted = WordNet(WORDS, IS_A)
    monkeypatch.setattr(WordNet, "from_nltk", classmethod(lambda cls: wanted))
    assert WordNet.load("nltk") is wanted
    assert WordNet.load(Path("nltk")) is wanted


def test_the_words_of_every_synset_by_id(small: WordNet) -> None:
    assert dict(small.lemmas()) == {name: tuple(each) for name, each in WORDS.items()}
    assert all(small.words(name) == each for name, each in small.lemmas().items())
