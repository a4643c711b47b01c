"""Other forms of an English word: without accents and hyphens, in the singular or plural.

The rules are few and know no parts of speech. They name candidates for a lookup, of which only
those that exist matter: ``gas`` has the singular ``ga``, which does no harm as no list has it.

Of the 2,050 plurals in WordNet 3.0's `noun.exc` the likeliest singular is right for 68.1 %, and
the first that is a noun for 77.7 %; of the regular plurals of its 53,343 other nouns of one word
for 95.4 % and 99.7 % (`tests/data/words/test_word_forms.py` counts them). inflect 7.6, which names
one form, is right for 21.7 % and 94.4 %, and takes 5 to 9 times as long. NLTK's morphy only looks
`noun.exc` up, which a user need not have.
"""

import re
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
# Of compounds whose head comes first: chests of drawers, mothers-in-law, passers-by.
_HEAD_FIRST = re.compile(r"([^-_ ]+s|men)([-_ ](?:at|by|de|in|of|on|up|general)(?:[-_ ].*)?)")
# Plural ending and the singular endings it may come from, the likeliest first; of the endings that
# match the longest come first. The order follows the counts of WordNet's nouns.
_ENDINGS = {
    "s": ("",),  # cats, axes of an axe
    "us": ("u",),  # gurus, if one of _U_NOUNS
    "ies": ("y", "ie"),  # berries, cookies
    "ves": ("ve", "f", "fe"),  # gloves
    "lves": ("lf", "lve"),  # wolves
    "valves": ("valve",),
    "rves": ("rf", "rve"),  # scarves
    "erves": ("erve",),  # nerves
    "urves": ("urve",),  # curves
    "eaves": ("eaf", "eave"),  # leaves
    "oaves": ("oaf",),
    "hieves": ("hief",),
    "hooves": ("hoof",),
    "nives": ("nife", "nive"),  # knives
    "wives": ("wife",),
    "lives": ("life", "live"),
    "olives": ("olive",),
    "ses": ("s", "se", "sis"),  # buses
    "ases": ("ase", "as", "asis"),  # vases
    "eses": ("esis", "ese", "es"),  # theses
    "eeses": ("eese",),
    "ises": ("ise", "is", "isis"),  # noises
    "irises": ("iris",),
    "itises": ("itis",),
    "llises": ("llis",),  # trellises
    "oises": ("oise", "ois"),
    "iases": ("iasis", "ias"),
    "stases": ("stasis",),
    "oses": ("osis", "ose", "os"),  # neuroses
    "noses": ("nose", "nosis"),
    "poses": ("pose",),
    "ooses": ("oose",),
    "auses": ("ause", "aus"),  # causes
    "ouses": ("ouse", "ous"),  # houses
    "fuses": ("fuse",),
    "cuses": ("cus", "cuse"),  # circuses
    "yses": ("ysis", "yse", "ys"),  # analyses
    "sses": ("ss", "sse", "s"),  # asses
    "lses": ("lse", "ls"),
    "nses": ("nse", "ns"),  # tenses
    "lenses": ("lens",),
    "pses": ("pse", "psis", "ps"),  # corpses
    "opses": ("opsis", "opse", "ops"),  # synopses
    "rses": ("rse", "rs"),  # horses
    "wses": ("wse", "ws"),
    "xes": ("x", "xis"),
    "zes": ("ze", "z"),  # mazes
    "ezes": ("ez", "eze"),  # fezes
    "eezes": ("eeze",),
    "tzes": ("tz", "tze"),  # blitzes
    "zzes": ("zz", "z"),
    "uizzes": ("uiz",),
    "ezzes": ("ez",),
    "ches": ("ch", "che"),
    "aches": ("ache", "ach"),  # headaches
    "eaches": ("each",),
    "oaches": ("oach",),
    "iches": ("iche", "ich"),  # niches
    "wiches": ("wich",),
    "triches": ("trich",),
    "shes": ("sh",),
    "oes": ("o", "oe"),  # potatoes
    "hoes": ("hoe", "ho"),  # shoes
    "ndices": ("ndex", "ndix"),  # indices
    "rtices": ("rtex",),  # vertices
    "trices": ("trix",),  # matrices
    "lices": ("lix", "lice"),  # helices
    "bices": ("bex",),
    "aux": ("au",),  # chateaux
    "eux": ("eu",),
    "oi": ("os",),
    "ae": ("a",),  # larvae
    "ci": ("cus",),  # foci
    "data": ("datum",),
}
_FOREIGN = {
    "i": ("us", "o", "e"),  # cacti, castrati, dilettanti
    "tti": ("tto", "tte"),  # concetti
    "a": ("um", "on"),  # bacteria
    "ata": ("a", "atum", "aton"),  # stomata, strata, automata
    "omata": ("oma",),
    "mena": ("menon",),
    "hedra": ("hedron",),
    "zoa": ("zoan", "zoon"),
    "mina": ("men",),  # stamina
    "ices": ("ice", "ex", "ix"),  # services, apices
    "aces": ("ace", "ax"),
    "nges": ("nge", "nx"),  # larynges
    "ides": ("ide", "is"),  # irides
    "im": ("",),  # cherubim
}
# Nouns in -u but not in -eau or -ou; other words in -us are no plurals.
_U_NOUNS = frozenset(
    "adieu anu babu cebu coypu cpu ecru emu flu gnu guru haiku hindu icu impromptu jujitsu juju "  # noqa: SIM905
    "kudu kudzu landau luau menu milieu muumuu parvenu pilau puku rimu shiatsu snafu submenu "
    "sudoku tabu tau tegu thou tofu tutu urdu zebu zulu".split()
)
_FOREIGN_PLURALS = (
    ("us", "i"),
    ("a", "ae"),
    ("um", "a"),
    ("ex", "ices"),
    ("ix", "ices"),
    ("eau", "eaux"),
)
_LONGEST = max(map(len, (*_ENDINGS, *_FOREIGN)))
_MIN_FOREIGN_STEM = 4  # letters: a titi is no titus
_SHORT = 5  # letters of doe + s, where a potato is longer


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


def number_forms(word: str) -> list[str]:
    """A lower-case word in the other number, the likeliest first, to look up where it is not known.

    What ends in s is a plural rather than a singular: rams are of a ram, not of one Ramses.
    """
    if word.endswith("s"):
        return [*singulars(word), *plurals(word)]
    return [*plurals(word), *singulars(word)]


def singulars(word: str) -> list[str]:
    """Possible singulars of a lower-case word, the likeliest first.

    A genitive is no plural: ``"dog's"`` has none.
    """
    if word.endswith(("'", "'s", "\u2019", "\u2019s")):
        return []
    if match := _HEAD_FIRST.fullmatch(word):
        return [head + match[2] for head in singulars(match[1])]
    for plural, singular in _IRREGULAR.items():
        if word.endswith(plural):
            return [word.removesuffix(plural) + singular]
    if word.endswith("ss") or (word.endswith("us") and not _is_u_plural(word)):  # glass, cactus
        return []
    if word.endswith("is"):  # okapis; a trellis is no plural, and there is no trelli
        return [word[:-1]]
    if len(word) <= _SHORT and word.endswith("oes"):
        return [word[:-1], word[:-2]]  # toes, noes
    if len(word) < _SHORT and word.endswith("ies"):
        return [word[:-1]]  # pies
    if len(word) <= _SHORT and word.endswith("oses"):
        return [word[:-1]]  # roses
    forms = []
    for size in range(min(len(word), _LONGEST), 0, -1):
        stem, ending = word[:-size], word[-size:]
        singular_endings = _ENDINGS.get(ending, ())
        if len(stem) >= _MIN_FOREIGN_STEM:
            singular_endings += _FOREIGN.get(ending, ())
        forms += [stem + singular for singular in singular_endings]
    return list(dict.fromkeys(form for form in forms if len(form) > 1))


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
    if not word.endswith(("s", "x", "z", "sh")):  # an ass is not in assess
        forms.append(word + "s")
    for singular, plural in (("f", "ves"), ("fe", "ves"), ("sis", "ses"), ("iz", "izzes")):
        if word.endswith(singular):
            forms.append(word.removesuffix(singular) + plural)
    return forms + [
        word.removesuffix(ending) + plural
        for ending, plural in _FOREIGN_PLURALS
        if word.endswith(ending) and len(word) >= len(ending) + _MIN_FOREIGN_STEM
    ]


def _is_u_plural(word: str) -> bool:
    last = re.split("[-_ ]", word)[-1]
    return last.endswith(("aus", "ous")) or last[:-1] in _U_NOUNS
