"""Words and their numbers, counted from training captions only."""

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
    """Every word a captioner can say, each with an id.

    Args:
        words: in the order of their ids, which begin after those of ``SPECIAL``.

    Raises:
        ValueError: a word is there twice, is spelled like a special one, is not one word, or holds
            a control character, with which it could command the terminal that shows it.
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
            if not UNPRINTABLE.isdisjoint(word):
                raise ValueError(f"{word!r} holds a control character")
        # Without the special ones: a caption's "</s>" must not end it.
        self._ids = {word: number for number, word in enumerate(words, len(SPECIAL))}
        if len(self._ids) < len(words):
            word, count = Counter(words).most_common(1)[0]
            raise ValueError(f"{word!r} is there {count} times")
        self.words: tuple[str, ...] = (*SPECIAL, *words)  # by id

    @classmethod
    def counted(
        cls,
        training: Sequence[CaptionedImage],
        *,
        minimum: int = 5,
        evaluation: Sequence[CaptionedImage] = (),
    ) -> "Vocabulary":
        """The words of the training captions, the most frequent first, equals by alphabet.

        Args:
            training: whose captions are counted.
            minimum: least number of times a word is there; 5 in the paper, 4 in im2txt.
            evaluation: only looked at for images that are in training too.

        Raises:
            ValueError: the two share an image, or no word is there often enough.

        Source:
            Vinyals et al. 2015, section 4.3.1.
        """
        check_disjoint(training, evaluation)
        count = Counter(
            word for image in training for caption in image.captions for word in words_of(caption)
        )
        kept = [
            word
            for word in count
            if count[word] >= minimum and word not in SPECIAL and UNPRINTABLE.isdisjoint(word)
        ]
        if not kept:
            raise ValueError(f"no word is in the training captions {minimum} times")
        return cls(sorted(kept, key=lambda word: (-count[word], word)))

    def __len__(self) -> int:
        """Number of words, the special ones among them."""
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        """Whether all words have the same ids."""
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        """Equal vocabularies have equal hashes."""
        return hash(self.words)

    def encode(self, caption_words: Sequence[str]) -> list[int]:
        """The ids of a caption's words between start and end; a word not known is ``unknown``."""
        inside = [self._ids.get(word, self.unknown) for word in caption_words]
        return [self.start, *inside, self.end]

    def decode(self, ids: Sequence[int]) -> str:
        """The words with spaces between, start and end left out.

        Raises:
            ValueError: an id is not the vocabulary's.
        """
        for number in ids:
            if not 0 <= number < len(self):
                raise ValueError(f"id {number} is not among the vocabulary's 0 to {len(self) - 1}")
        return " ".join(self.words[n] for n in ids if n not in (self.start, self.end))

    @classmethod
    def from_words(cls, words: Sequence[str]) -> "Vocabulary":
        """A vocabulary from all its ``words``, the special ones first.

        Raises:
            ValueError: the special words are not first; or see the class.
        """
        if tuple(words[: len(SPECIAL)]) != SPECIAL:
            raise ValueError(f"the vocabulary does not begin with {', '.join(SPECIAL)}")
        return cls(words[len(SPECIAL) :])
