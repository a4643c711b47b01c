import pytest

from vl.data.captions.captions import CaptionedImage
from vl.data.captions.vocabulary import END, START, UNKNOWN, Vocabulary


def image(name: str, *captions: str) -> CaptionedImage:
    return CaptionedImage(name, name, captions, "")


TRAINING = [
    image("a.jpg", "A cat, a cat.", "The dog!"),
    image("b.jpg", "A zebra. The zebra and a dog."),
]


def test_special_words_come_first():
    vocabulary = Vocabulary(["cat", "a"])
    assert vocabulary.words == ("<s>", "</s>", "<unk>", "cat", "a")
    assert vocabulary.words[:3] == (START, END, UNKNOWN)
    assert (vocabulary.start, vocabulary.end, vocabulary.unknown) == (0, 1, 2)
    assert len(vocabulary) == 5 and len(Vocabulary([])) == 3


@pytest.mark.parametrize("training", [TRAINING, TRAINING[::-1]])
def test_order_is_by_count_then_alphabet(training):
    # By hand: a 4; cat, dog, the, zebra 2 each; and 1.
    words = ("a", "cat", "dog", "the", "zebra", "and")
    for min_count, size in ((1, 6), (2, 5), (4, 1)):
        vocabulary = Vocabulary.from_captions(training, min_count=min_count)
        assert vocabulary.words[3:] == words[:size]


def test_min_count_is_5_by_default():
    training = [image("a.jpg", *["cat"] * 5, *["dog"] * 4)]
    assert Vocabulary.from_captions(training).words[3:] == ("cat",)


def test_words_with_control_characters_are_not_counted():
    training = [image("a.jpg", "a \x1b[31mred\x07 \x1b ball\u202e http://x.com/\x1b[2Jx")]
    words = Vocabulary.from_captions(training, min_count=1).words
    assert {"a", "31mred", "ball"} <= set(words)
    assert all(word.isprintable() for word in words)


def test_refuses_captions_without_frequent_word():
    with pytest.raises(ValueError, match="5"):
        Vocabulary.from_captions(TRAINING)
    with pytest.raises(ValueError, match="no word"):
        Vocabulary.from_captions([], min_count=1)


def test_evaluation_images_are_not_counted_and_must_differ():
    evaluation = [image("c.jpg", "Ten penguins, ten penguins.")]
    vocabulary = Vocabulary.from_captions(TRAINING, min_count=1, evaluation=evaluation)
    assert vocabulary == Vocabulary.from_captions(TRAINING, min_count=1)
    with pytest.raises(ValueError, match=r"b\.jpg"):
        Vocabulary.from_captions(TRAINING, min_count=1, evaluation=[image("val/b.jpg", "A zebra.")])


@pytest.mark.parametrize(
    ("words", "ids", "text"),
    [
        ([], [], ""),
        (["a", "cat", "sits"], [3, 4, 5], "a cat sits"),
        (["a", "penguin"], [3, 2], "a <unk>"),
        (["<s>", "</s>", "a"], [2, 2, 3], "<unk> <unk> a"),  # spelled like special words
    ],
)
def test_encode_and_decode(words, ids, text):
    vocabulary = Vocabulary(["a", "cat", "sits"])
    assert vocabulary.encode(words) == [0, *ids, 1]
    assert vocabulary.decode([0, *ids, 1, 1]) == text


@pytest.mark.parametrize("index", [4, -1])
def test_decode_refuses_unknown_id(index):
    with pytest.raises(ValueError, match=f"id {index}"):
        Vocabulary(["a"]).decode([3, index])


@pytest.mark.parametrize(
    ("words", "key_word"),
    [
        (["a", "b", "a"], "2 times"),
        (["a", "</s>"], "special"),
        (["a cat"], "one word"),
        ([""], "one word"),
        (["\x1b[31mred"], "control"),
        (["a\x9b2J"], "control"),
        (["\u202ecat"], "control"),
        (["\ud83d"], "control"),
    ],
)
def test_refuses_invalid_words(words, key_word):
    with pytest.raises(ValueError, match=key_word):
        Vocabulary(words)
    with pytest.raises(ValueError, match=key_word):
        Vocabulary.from_words(["<s>", "</s>", "<unk>", *words])


def test_equality():
    assert Vocabulary(["a", "b"]) == Vocabulary(("a", "b"))
    assert hash(Vocabulary(["a", "b"])) == hash(Vocabulary(("a", "b")))
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary([]) != START


def test_from_words():
    vocabulary = Vocabulary(["caf\u00e9", "'s", '"', "\u65e5"])
    assert Vocabulary.from_words(vocabulary.words) == vocabulary
    for words in (["a", "b"], ["</s>", "<s>", "<unk>", "a"], ["<s>", "</s>"]):
        with pytest.raises(ValueError, match="begin"):
            Vocabulary.from_words(words)
