"""Other ways to write an English word: without accents and hyphens, as its singular or plural.

The rules are few and know no parts of speech. They name candidates for a look-up, of which only
those that exist matter: ``gas`` has the singular ``ga``, and nobody is hurt while no list has it.
"""

import unicodedata

# Letters that Unicode does not take apart into a plain one and a mark.
_PLAIN = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})
# Also at the end of a compound: firemen, dormice, eyeteeth, grandchildren. Long ones first.
_IRREGULAR = {
    "children": "child",
    "geese": "goose",
    "teeth": "tooth",
    "feet": "foot",
    "mice": "mouse",
    "lice": "louse",
    "men": "man",
}
# Plural ending, singular ending; all that fit are tried.
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
# Letters that stay when an ending goes.
_SHORTEST = 2
_SHORTEST_FOREIGN = 4  # a titi is no titus


def folded(word: str) -> str:
    """The word in lower case without accents, hyphens, apostrophes and underscores.

    ``"T-shirt"``, ``"t_shirt"`` and ``"tshirt"`` are the same folded, as are ``"pâté"`` and
    ``"pate"``.
    """
    word = word.casefold()
    if not word.isascii():
        apart = unicodedata.normalize("NFKD", word.translate(_PLAIN))
        word = "".join(letter for letter in apart if not unicodedata.combining(letter))
    if word.isalnum():
        return word
    return "".join(letter for letter in word if letter not in "-_'\u2019\u2010\u2011")


def singulars(word: str) -> list[str]:
    """What the word, if it is a plural, may be the plural of; lower case; the likeliest first."""
    for plural, singular in _IRREGULAR.items():
        if word.endswith(plural):
            return [word.removesuffix(plural) + singular]
    if word.endswith(("ss", "us")):  # glass, cactus
        return []
    if word.endswith("is"):  # okapis; a trellis is no plural, and there is no trelli
        return [word[:-1]]
    return [
        *(
            word.removesuffix(plural) + singular
            for plural, singular in _ENDINGS
            if word.endswith(plural) and len(word) >= len(plural) + _SHORTEST
        ),
        *(
            word.removesuffix(plural) + singular
            for plural, singular in _FOREIGN
            if word.endswith(plural) and len(word) >= len(plural) + _SHORTEST_FOREIGN
        ),
    ]


def plurals(word: str) -> list[str]:
    """What may be the plural of the word; lower case; the likeliest first."""
    for plural, singular in _IRREGULAR.items():
        if word.endswith(singular):
            return [word.removesuffix(singular) + plural, word + "s"]  # humans are not humen
    found = []
    if word.endswith("y") and word[-2:-1] not in tuple("aeiou"):
        found.append(word[:-1] + "ies")
    if word.endswith(("s", "x", "z", "ch", "sh", "o")):
        found.append(word + "es")
    found.append(word + "s")
    for singular, plural in (("f", "ves"), ("fe", "ves"), ("sis", "ses")):
        if word.endswith(singular):
            found.append(word.removesuffix(singular) + plural)
    return found + [
        word.removesuffix(singular) + plural
        for plural, singular in _FOREIGN
        if word.endswith(singular) and len(word) >= len(singular) + _SHORTEST_FOREIGN
    ]
