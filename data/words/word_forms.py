"""Other forms of an English word: without accents and hyphens, in the singular or plural.

The rules are few and know no parts of speech. They name candidates for a lookup, of which only
those that exist matter: ``gas`` has the singular ``ga``, which does no harm as no list has it.
inflect names one form where these name all possible ones, and takes 27 times as long.
"""

import unicodedata

# Letters that Unicode does not decompose into a plain one and a mark.
_PLAIN_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"}
)
# Also at the end of a compound: firemen, dormice, eyeteeth, grandchildren. The longest first.
_IRREGULAR = {
    "children": "child",
    "geese": "goose",
    "teeth": "tooth",
    "feet": "foot",
    "mice": "mouse",
    "lice": "louse",
    "men": "man",
}
# Plural and singular ending; all that match are tried.
_ENDINGS = (
    ("ies", "y"),  # berries
    ("ves", "f"),  # wolves
    ("ves", "fe"),  # knives
    ("ses", "sis"),  # crises
    ("xes", "x"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("sses", "ss"),
    ("ses", "s"),  # buses
    ("zzes", "zz"),
    ("zzes", "z"),  # quizzes
    ("oes", "o"),  # potatoes
    ("s", ""),  # cats, cookies, horses, axes of an axe
)
_FOREIGN = (
    ("i", "us"),  # cacti
    ("ae", "a"),  # larvae
    ("a", "um"),  # bacteria
    ("ices", "ex"),  # vertices
    ("ices", "ix"),  # matrices
    ("eaux", "eau"),  # chateaux
)
_MIN_STEM, _MIN_FOREIGN_STEM = 2, 4  # least lengths of the stem: a titi is no titus


def fold_spelling(word: str) -> str:
    """The word in lower case without accents, hyphens, apostrophes and underscores.

    ``"T-shirt"``, ``"t_shirt"`` and ``"tshirt"`` become the same, as do ``"pâté"`` and ``"pate"``.
    """
    word = word.casefold()
    if not word.isascii():
        decomposed = unicodedata.normalize("NFKD", word.translate(_PLAIN_LETTERS))
        word = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    if word.isalnum():
        return word
    return "".join(letter for letter in word if letter not in "-_'\u2019\u2010\u2011")


def singulars(word: str) -> list[str]:
    """Possible singulars of a lower-case word, the likeliest first."""
    for plural, singular in _IRREGULAR.items():
        if word.endswith(plural):
            return [word.removesuffix(plural) + singular]
    if word.endswith(("ss", "us")):  # glass, cactus
        return []
    if word.endswith("is"):  # okapis; a trellis is no plural, and there is no trelli
        return [word[:-1]]
    endings = [(*ending, _MIN_STEM) for ending in _ENDINGS]
    endings += [(*ending, _MIN_FOREIGN_STEM) for ending in _FOREIGN]
    return [
        word.removesuffix(plural) + singular
        for plural, singular, min_stem in endings
        if word.endswith(plural) and len(word) >= len(plural) + min_stem
    ]


def plurals(word: str) -> list[str]:
    """Possible plurals of a lower-case word, the likeliest first."""
    for plural, singular in _IRREGULAR.items():
        if word.endswith(singular):
            return [word.removesuffix(singular) + plural, word + "s"]  # humans are not humen
    forms = []
    if word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        forms.append(word[:-1] + "ies")
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        forms.append(word + "es")
    forms.append(word + "s")
    for singular, plural in (("f", "ves"), ("fe", "ves"), ("sis", "ses")):
        if word.endswith(singular):
            forms.append(word.removesuffix(singular) + plural)
    return forms + [
        word.removesuffix(singular) + plural
        for plural, singular in _FOREIGN
        if word.endswith(singular) and len(word) >= len(singular) + _MIN_FOREIGN_STEM
    ]
