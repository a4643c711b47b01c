"""A caption into words, as Stanford's PTB tokeniser does and coco-caption keeps them, without Java.

Written for captions: not the whole of the tokeniser, which knows mail addresses, smileys, tags,
and more of other alphabets than this does.
"""

import re

# Abbreviations that keep their full stop: what the tokeniser said when it was asked about every
# word of up to four letters.
_ABBREVIATIONS = """
    adj adm adv ala? alex apr ariz assn asst atty aug ave bhd bldg blvd brig bros capt cf cie cmdr
    colo? conn corp cos? cpl ct dak dec dept det drs? elec ens esq est etc ext feb fla fri ft ga gen
    govs? hon inc ind insp intl invt jan jos jr jul jun kans? ky lt ltd maj mar md mfg mich minn
    mlle mme mo mon mont mrs? ms msgr mt mtg natl neb nev nov oct okla penn pfc ph plc pp?t[ey]s?
    pres profs? pvt rd reps? rev rt sen sens sept? seq sfc sgt spc sq sr ste? supt sys tel tenn thu
    tues? univ va vs vt wed wisc? wm wyo
"""
_STATES = "Ariz Ark Az Del Ill La Mass Miss Ore Pa Tex Wash"  # words, too, without the capital
# Words that open a sentence, before which a single letter's full stop is the sentence's.
_OPENERS = """
    A About According Additionally After An As At But Earlier He Her Here However If In It Last Many
    More Now Once One Other Our She Since So Some Such That The Their Then There These They This We
    What When While Yet You
"""
# What would command a terminal or cannot be written: controls, formatting, halves of characters.
# The tokeniser drops them, and they end a word. (It keeps them in web addresses; this does not.)
UNPRINTABLE = frozenset(
    chr(code)
    for first, last in (
        (0x00, 0x1F),
        (0x7F, 0x9F),
        (0x61C, 0x61C),
        (0x200C, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0xD800, 0xDFFF),
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFB),
        (0xE0001, 0xE007F),
    )
    for code in range(first, last + 1)
)
_TYPOGRAPHY = str.maketrans(
    dict.fromkeys(UNPRINTABLE, " ")
    | {"\x80": "$", "\x91": "'", "\x92": "'", "\xad": ""}  # Windows' euro and quotes; a soft hyphen
    | {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}  # curly quotation marks
    | {"\u2013": " -- ", "\u2014": " -- ", "\u2026": " ... ", "\u200b": " "}  # dashes, ellipsis
    | {"½": "1/2", "¼": "1/4", "¾": "3/4", "£": "#", "€": "$", "¢": "cents"}
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}


def words(caption: str) -> list[str]:
    """The words of a caption, in lower case; punctuation is left out.

    Left out are the marks ``'' ' `` ` . ? ! , : - -- ... ;`` and nothing else: signs such as
    ``&`` or ``%`` are words, and so are brackets, which become ``-lrb-`` and the like.

    Source:
        Stanford CoreNLP 3.4.1, ``PTBTokenizer -preserveLines -lowerCase``, and the punctuation
        that coco-caption's ``ptbtokenizer.py`` takes out. Its list has ``-LRB-`` in capitals,
        which never meets the lower-case ``-lrb-``; hence the brackets stay in the scores.
    """
    found = _TOKEN.findall(caption.translate(_TYPOGRAPHY))
    return [_BRACKETS.get(token) or token.lower() for token in found]


def _any(alternatives: str) -> str:
    return f"(?:{'|'.join(alternatives.split())})"


# What no alternative takes is punctuation, and is passed over. An alternative is tried only where
# the one before has ended, so each starts at the start of a word.
_TOKEN = re.compile(
    rf"""
      (?!(?:cannot|gonna|wanna|gotta|gimme|lemme)\b)[^\W\d_]+(?!\S)  # most words: here for speed
    | (?:https?://|www\.)[^\s"<>]*[^\W_]/?
    | -[lr][rsc]b-(?!\w)                              # a bracket that was one before
    | (?-i:[A-Z]+(?:&[A-Z]+)+(?!\w))                  # AT&T, but b & w
    | \#[a-z]+ | @\w+                                 # a tag, a name
    | [^\W\d_]+?(?=n't\b) | n't\b                     # do n't
    | can(?=not\b) | (?:gon|wan)(?=na\b) | got(?=ta\b) | (?:gim|lem)(?=me\b)
    | [dlo]'[^\W\d_]+ | ma'am\b | [a-z]*[aeiou]'[aeiou][a-z]*  # o'clock, Kaua'i
    | 't(?=(?:is|was)?\b) | 'n' | '(?:n|em|til)\b | (?<!\d)'\d\ds?\b
    | '(?:s|m|d|ll|re|ve)\b
    | (?:[a-z]\.)+[a-z]\.(?!\w)                       # U.S.
    | (?:{_any(_ABBREVIATIONS)}|(?-i:{_any(_STATES)}))\.(?!\w)
    | [a-z]\.(?!\w)(?!\s+(?-i:{_any(_OPENERS)})\s)
    | nos?\.(?=\s*\d)                                 # No. 5
    | [-+]?\d*(?:[.,:]\d+)+(?:-[^\W\d_]+)*           # 3:30 and then pm; 1.5-inch
    | [^\W_]+(?:[-/_.?!][^\W_]+)*
    | [-+]\d+
    | [?!]{{2,}}                                      # one of them is on the list, two are not
    | \*+ | _+ | [^\w\s.?!,:;'"`*-]
    """,
    re.VERBOSE | re.IGNORECASE,
)
