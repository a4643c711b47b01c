"""The vocabulary of a captioner: words and their ids, counted on training captions only."""

from collections import Counter
from collections.abc import Sequence

from vl.data.captions.captions import CaptionedImage, check_disjoint
from vl.data.captions.ptb.tokens import words as words_of
from vl.data.files import UNPRINTABLE

START = "<s>"
END = "</s>"
UNKNOWN = "<unk>"
SPECIAL = (START, END, UNKNOWN)  # in the order of their ids, from 0


class Vocabulary:
    """The words a captioner can generate and their ids.

    Args:
        words: in the order of their ids, which follow those of ``SPECIAL``.

    Raises:
        ValueError: a word is there twice, is a special one, has a space, or has a control
            character, with which it could send commands to a terminal.
    """

    start = SPECIAL.index(START)
    end = SPECIAL.index(END)
    unknown = SPECIAL.index(UNKNOWN)

    def __init__(self, words: Sequence[str]) -> None:
        for word in words:
            if word in SPECIAL:
                raise ValueError(f"{word!r} is a special word; the vocabulary adds it itself")
            if word.split() != [word]:
                raise ValueError(f"{word!r} is not one word")
            if UNPRINTABLE.search(word):
                raise ValueError(f"{word!r} has a control character")
        # Without the special ones: a "</s>" within a caption must not end it.
        self._ids = {word: index for index, word in enumerate(words, len(SPECIAL))}
        if len(self._ids) < len(words):
            word, count = Counter(words).most_common(1)[0]
            raise ValueError(f"{word!r} is there {count} times")
        self.words: tuple[str, ...] = (*SPECIAL, *words)  # by id

    @classmethod
    def from_captions(
        cls,
        training: Sequence[CaptionedImage],
        *,
        min_count: int = 5,
        evaluation: Sequence[CaptionedImage] = (),
    ) -> "Vocabulary":
        """The words of the training captions, the most frequent first, ties by alphabet.

        Args:
            training: images whose captions are counted.
            min_count: least count of a word; 5 in the paper, 4 in im2txt.
            evaluation: checked to share no image with training.

        Raises:
            ValueError: the two share an image, or no word is frequent enough.

        Source:
            Vinyals et al. 2015, section 4.3.1.
        """
        check_disjoint(training, evaluation)
        counts = Counter(
            word for image in training for caption in image.captions for word in words_of(caption)
        )
        words = [
            word
            for word, count in counts.items()
            if count >= min_count and word not in SPECIAL and not UNPRINTABLE.search(word)
        ]
        if not words:
            raise ValueError(f"no word occurs {min_count} times in the training captions")
        return cls(sorted(words, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        """Number of words, including the special ones, ``V``."""
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        """Whether all words have the same ids."""
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        """Equal vocabularies have equal hashes."""
        return hash(self.words)

    def encode(self, caption_words: Sequence[str]) -> list[int]:
        """The ids of a caption's words between start and end; other words are ``unknown``."""
        ids = [self._ids.get(word, self.unknown) for word in caption_words]
        return [self.start, *ids, self.end]

    def decode(self, ids: Sequence[int]) -> str:
        """The words separated by spaces, without start and end.

        Raises:
            ValueError: an id is out of range.
        """
        for index in ids:
            if not 0 <= index < len(self):
                raise ValueError(f"id {index} is not among the vocabulary's 0 to {len(self) - 1}")
        return " ".join(self.words[i] for i in ids if i not in (self.start, self.end))

    @classmethod
    def from_words(cls, words: Sequence[str]) -> "Vocabulary":
        """A vocabulary from its ``words``, the special ones first.

        Raises:
            ValueError: the special words are not first; or see the class.
        """
        if tuple(words[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"the vocabulary does not begin with {', '.join(SPECIAL)}")
        return cls(words[len(SPECIAL) :])
