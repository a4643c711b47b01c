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


def test_words_are_counted_and_ordered_by_count_then_alphabet():
    # By hand: a 4; cat, dog, the, zebra 2 each; and 1.
    assert Vocabulary.from_captions(TRAINING, min_count=1).words[3:] == (
        *("a", "cat", "dog", "the", "zebra"),
        "and",
    )
    assert Vocabulary.from_captions(TRAINING, min_count=2).words[3:] == (
        "a",
        "cat",
        "dog",
        "the",
        "zebra",
    )
    assert Vocabulary.from_captions(TRAINING, min_count=4).words[3:] == ("a",)


def test_the_order_of_the_images_changes_nothing():
    one = Vocabulary.from_captions(TRAINING, min_count=1)
    assert one == Vocabulary.from_captions(TRAINING[::-1], min_count=1)


def test_five_times_are_enough_by_default():
    training = [image("a.jpg", *["cat"] * 5, *["dog"] * 4)]
    assert Vocabulary.from_captions(training).words[3:] == ("cat",)


def test_no_caption_brings_a_control_character_in():
    training = [image("a.jpg", "a \x1b[31mred\x07 \x1b ball\u202e http://x.com/\x1b[2Jx")]
    counted = Vocabulary.from_captions(training, min_count=1).words
    assert {"a", "31mred", "ball"} <= set(counted)
    assert all(word.isprintable() for word in counted)


def test_refuses_captions_without_a_frequent_word():
    with pytest.raises(ValueError, match="no word occurs 5 times"):
        Vocabulary.from_captions(TRAINING)
    with pytest.raises(ValueError, match="no word"):
        Vocabulary.from_captions([], min_count=1)


def test_evaluation_captions_are_not_counted_and_images_must_differ():
    evaluation = [image("c.jpg", "Ten penguins, ten penguins.")]
    vocabulary = Vocabulary.from_captions(TRAINING, min_count=1, evaluation=evaluation)
    assert vocabulary == Vocabulary.from_captions(TRAINING, min_count=1)
    with pytest.raises(ValueError, match=r"both training and evaluation: 'b\.jpg'"):
        Vocabulary.from_captions(TRAINING, min_count=1, evaluation=[image("val/b.jpg", "A zebra.")])


def test_a_caption_comes_back_from_its_ids():
    vocabulary = Vocabulary(["a", "cat", "sits"])
    assert vocabulary.encode(["a", "cat", "sits"]) == [0, 3, 4, 5, 1]
    assert vocabulary.decode([0, 3, 4, 5, 1, 1]) == "a cat sits"
    assert vocabulary.encode([]) == [0, 1] and vocabulary.decode([]) == ""


def test_a_word_not_known_is_unknown_and_stays_visible():
    vocabulary = Vocabulary(["a", "cat"])
    assert vocabulary.encode(["a", "penguin"]) == [0, 3, 2, 1]
    assert vocabulary.decode([0, 3, 2, 1]) == "a <unk>"


def test_a_word_spelled_like_a_special_one_does_not_become_it():
    vocabulary = Vocabulary(["a"])
    assert vocabulary.encode(["<s>", "</s>", "a"]) == [0, 2, 2, 3, 1]


@pytest.mark.parametrize("number", [4, -1])
def test_an_id_that_is_not_there_is_refused(number):
    with pytest.raises(ValueError, match=f"id {number} is not among the vocabulary's 0 to 3"):
        Vocabulary(["a"]).decode([3, number])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b", "a"], "'a' is there 2 times"),
        (["a", "</s>"], "'</s>' is a special word"),
        (["a cat"], "'a cat' is not one word"),
        ([""], "'' is not one word"),
        (["\x1b[31mred"], r"'\\x1b\[31mred' has a control character"),
        (["a\x9b2J"], r"'a\\x9b2J' has a control character"),
        (["\u202ecat"], r"'\\u202ecat' has a control character"),
        (["\ud83d"], r"'\\ud83d' has a control character"),
    ],
)
def test_words_that_cannot_be_a_vocabulary_are_refused(words, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(words)


def test_vocabularies_are_equal_when_all_words_have_the_same_ids():
    assert Vocabulary(["a", "b"]) == Vocabulary(("a", "b"))
    assert hash(Vocabulary(["a", "b"])) == hash(Vocabulary(("a", "b")))
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary([]) != START


def test_from_words():
    vocabulary = Vocabulary(["caf\u00e9", "'s", '"', "\u65e5"])
    assert Vocabulary.from_words(vocabulary.words) == vocabulary


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", "b"], "does not begin with"),
        (["</s>", "<s>", "<unk>", "a"], "does not begin with"),
        (["<s>", "</s>"], "does not begin with"),
        (["<s>", "</s>", "<unk>", "a", "a"], "2 times"),
        (["<s>", "</s>", "<unk>", "a", "<unk>"], "special"),
    ],
)
def test_from_words_refuses_other_lists(words, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_words(words)
