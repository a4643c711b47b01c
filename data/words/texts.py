"""The words of a text, and labels tokenized the same way."""

import re
import unicodedata
from functools import cache

_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
# Typographic apostrophes and hyphens; a soft hyphen only marks where a line may break.
_TYPOGRAPHIC = str.maketrans(
    {"\u2019": "'", "\u02bc": "'", "\u2010": "-", "\u2011": "-", "\u00ad": None}
)


def plain_words(text: str) -> list[str]:
    """The words of a text: runs of letters and digits, with apostrophes and hyphens inside.

    ``"The T-shirt's 3.5 m (a 'no_one')"`` has the words ``The``, ``T-shirt's``, ``3``, ``5``,
    ``m``, ``a``, ``no`` and ``one``; everything else separates words. Case is kept.
    """
    if text.isascii():
        return _WORD.findall(text)
    text = unicodedata.normalize("NFC", text.translate(_TYPOGRAPHIC))
    if any(unicodedata.category(letter)[0] == "M" for letter in set(text)):
        return _marked_word().findall(text)
    return _WORD.findall(text)


def synonyms(label: str) -> list[list[str]]:
    """The words of each of a label's comma-separated terms; case is kept.

    ``"stop sign, traffic sign"`` has ``[["stop", "sign"], ["traffic", "sign"]]``. A term without a
    letter or digit is left out.
    """
    return [words for term in label.split(",") if (words := plain_words(term))]


@cache
def _marked_word() -> re.Pattern[str]:
    """As ``_WORD``, but with combining marks, such as Devanagari's vowel signs.

    Python's word characters exclude them. Far slower on plain English, hence separate.
    """
    all_marks = [chr(c) for c in range(0x300, 0x20000) if unicodedata.category(chr(c))[0] == "M"]
    run = rf"[^\W_](?:[^\W_]|[{''.join(all_marks)}])*"
    return re.compile(rf"{run}(?:['-]{run})*")
