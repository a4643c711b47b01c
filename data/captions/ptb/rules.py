"""What Stanford's PTB tokenizer takes for a token: rules for a scanner, and what becomes of each.

The behaviour is that of CoreNLP 3.4.1, which docs/scores.md compares it with. What differs only in
punctuation, which captions lose, is not distinguished.
"""

from collections.abc import Callable
from typing import NamedTuple

from vl.data.captions.ptb.letters import DIGITS, LETTERS, MARKS, SIGNS


class TokenRule(NamedTuple):
    """A rule and its token's normalization."""

    name: str
    body: str
    context: str | None = None
    token: Callable[[str], str] = str
    give_back: int = 0  # last characters that are scanned again


def _any(words: str) -> str:
    return "|".join(words.split())


def _set(ranges: str) -> str:
    bounds = (codes.partition("-") for codes in ranges.split())
    pairs = (rf"\u{first:0>4}-\u{last or first:0>4}" for first, _, last in bounds)
    return f"[{''.join(pairs)}]"


# Abbreviations that keep their full stop, even before a letter: "Inc.X" is two tokens. A capital in
# brackets must be one, for without it the letters are a word.
_CLOSING = r"""
    al Ala Apr Ariz [A]rk Assn Aug [A]z Bancorp Bhd Bldg Blvd Bros Calif Colo Conn Corp Cos? Ct Dak
    Dec [D]el (Ed|Ph)\.D Esq est etc ext Feb Fla Fri Ga [I]ll Inc Ind Intl Jan Jr Jul Jun Kans? Ky
    [L]a Ltd Mar [M]ass Md Mich Minn [M]iss Mo Mon Mont Neb Nev Nov Oct Okla [O]re [P]a Penn Plc
    Pp?t[ye]s? Rd Rt Sep Sept seq sq Sr Sys tel Tenn [T]ex Thu Thurs Tue Tues Univ Va Vt [W]ash Wed
    Wisc? Wyo
"""
# Those usually followed by a word, which keep it only before a non-letter.
_OPENING = r"""
    Adj Adm Adv a\.k\.a Alex Assoc Asst Attys? Ave Brig Capt cf Cie Col Co?mdr Cpl Dept Det Drs?
    Elec Ens Ft Gen Govs? Hon Insp Invt Jos Lieut Lt Maj Messrs M[ft]g Mlle Mme Mr Mrs Ms Msgr Mt
    Natl Pfc Ph Pres Profs? Pvt Reps? Rev Sens? Sfc Sgt Spc Ste? Supts? TREAS vs Wm
"""
# Abbreviations only before a number.
_NUMBERED = "ca figs? prop nos? arts? bldg pp op"
# Words that open a sentence, before which a single letter's full stop is the sentence's.
_OPENERS = r"""
    [A] [A]bout [A]ccording [A]dditionally [A]fter [A]n [A]s [A]t [B]ut [E]arlier [H]e [H]er [H]ere
    [H]owever [I]f [I]n [I]t [L]ast [M]any [M]ore [M]r\. [M]s\. [N]ow [O]nce [O]ne [O]ther [O]ur
    [S]he [S]ince [S]o [S]ome [S]uch [T]hat [T]he [T]heir [T]hen [T]here [T]hese [T]hey [T]his [W]e
    [W]hat [W]hen [W]hile [Y]et [Y]ou
"""

DEFINITIONS = {
    "letter": _set(LETTERS),
    "mark": _set(MARKS),
    "digit": _set(DIGITS),
    "sign": _set(SIGNS),
    "space": r"[\ \t\u00a0\u2000-\u200a\u3000]",
    "break": r"[\r\n\u2028\u2029\x0b\x0c\x85]",
    "blank": "{space}|{break}",
    "entity": "&[aeiouAEIOU](acute|grave|uml);",  # a letter with an accent
    "spoken": r"{letter}|{mark}|\u00ad|{entity}",  # what words are made of
    "word": "{spoken}({spoken}|{digit})*([.!?]{spoken}({spoken}|{digit})*)*",
    "apostrophe": r"['\x92\u2019]|&apos;",
    "quote": r"{apostrophe}|[`\x91\u2018\u201b]",  # an apostrophe or its substitutes
    "verb": "{apostrophe}([msdMSD]|re|ve|ll)",  # 's, 're
    "not": "n{quote}t",
    "hyphen": r"[\-_\u058a\u2010\u2011]",
    "character": "{letter}|{digit}",
    "number": r"{digit}+|{digit}*([.:,\u00ad\u066b\u066c]{digit}+)+",
    "acronym": r"[A-Za-z](\.[A-Za-z])+|(Canada|Sino|Korean|EU|Japan|non)-U\.S"
    r"|U\.S\.-(U\.K|U\.S\.S\.R)",
    "initials": "[A-Za-z]|{acronym}",
    "thing": "([dDoOlL]{quote}{character})?{character}+"
    "({hyphen}([dDoOlL]{quote}{character})?{character}+)*",
    "compound": r"[A-Za-z0-9][A-Za-z0-9.,\u00ad]*(-([A-Za-z0-9\u00ad]+|({acronym})\.))+",
    "capitals": "[A-Z]+(([+&]|&amp;)[A-Z]+)+",
    "any": r"[\s\S]",
    "comma": r"[,;:\u3001]",
    "url": r"[^\ \t\n\f\r\"<>|(){}]",
}


def _no_soft_hyphens(text: str) -> str:
    return text.replace("\u00ad", "") or "-"


def _no_break_spaces(text: str) -> str:
    return text.replace(" ", "\u00a0")


def _named_brackets(text: str) -> str:
    return _no_break_spaces(text).replace("(", "-LRB-").replace(")", "-RRB-")


def _plain_ampersand(text: str) -> str:
    return text.replace("&amp;", "&").replace("&AMP;", "&")


def _closed(text: str) -> str:
    """Quotation marks as in TeX, neutral ones as closing ones."""
    return text.replace("&apos;", "'").translate(_TEX)


def _always(token: str) -> Callable[[str], str]:
    return lambda _: token


_TEX = {
    **dict.fromkeys(map(ord, "\x91\u2018\u201b\u2039"), "`"),
    **dict.fromkeys(map(ord, "\x92\u2019\u203a"), "'"),
    **dict.fromkeys(map(ord, "\x93\u201c\u00ab"), "``"),
    **dict.fromkeys(map(ord, "\x94\u201d\u00bb"), "''"),
}
_MONEY = {"\u00a2": "cents", "\u00a3": "#"} | dict.fromkeys("\x80\u00a4\u20a0\u20ac", "$")
_FRACTIONS = {
    "\u00bc": "1/4",
    "\u00bd": "1/2",
    "\u00be": "3/4",
    "\u2153": "1/3",
    "\u2154": "2/3",
}
_BRACKETS = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}
_NAME = r"[A-Za-z][A-Za-z0-9_:.\-]*"  # of a tag or an attribute
_TAG = (
    rf"\<([!?][A-Za-z\-][^\>\r\n]*|/{_NAME}"
    rf"|{_NAME}(\ +{_NAME}(\ *=\ *('[^']*'|\"[^\"]*\"))?)*\ */?)\ *\>"
)
_ENDINGS = """
    bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl
    png ppt ps py sql tar txt wav x xml zip
"""
# Of ties the first rule wins.
TOKEN_RULES = [
    TokenRule("language", r"c\+\+|(c|f)\#"),
    TokenRule("cannot", "cannot|'twas", give_back=3),
    TokenRule("gonna", "'tis|gonna|gotta|lemme|gimme|wanna", give_back=2),
    TokenRule("tag", _TAG, token=_no_break_spaces),
    TokenRule("dash", r"&(MD|mdash|ndash);|[\x96\x97\u2013-\u2015]", token=_always("--")),
    TokenRule("ampersand", "&amp;", token=_always("&")),
    TokenRule("mark", r"&(HT|TL|UR|LR|QC|QL|QR|odq|cdq|\#[0-9]+);"),
    TokenRule("word before a verb", "{word}", "{verb}", token=_no_soft_hyphens),
    TokenRule(
        "word before not", r"[A-Za-z\u00ad]*[A-MO-Za-mo-z]\u00ad*", "{not}", token=_no_soft_hyphens
    ),
    TokenRule("word", "{word}", token=_no_soft_hyphens),
    TokenRule(
        "word with an apostrophe",
        "{apostrophe}n{apostrophe}?|[lLdDjJ]{apostrophe}|(Dunkin|somethin|ol){apostrophe}"
        "|{apostrophe}(em|[2-9]0s|till?|cause)|[A-HJ-XZn]{quote}{letter}{letter}+"
        r"|{letter}+[aeiouyAEIOUY]{quote}[aeiouA-Z]{letter}*|cont'd\.?|nor'easter|c'mon|e'er"
        "|s'mores|ev'ry|li'l|nat'l|O{quote}o",
    ),
    TokenRule("y'all", "y{apostrophe}", "{letter}"),
    TokenRule("address", r"https?:\/\/{url}+[^\ \t\n\f\r\"<>|.!?(){},\-]"),
    TokenRule(
        "likely address",
        r"(www\.([^\ \t\n\f\r\"<>|.!?(){},]+\.)+[a-zA-Z]{2,4}"
        r"|([^\ \t\n\f\r\"`'<>|.!?(){},-_$]+\.)+(com|net|org|edu))"
        r"(/[^\ \t\n\f\r\"<>|()]+[^\ \t\n\f\r\"<>|.!?(){},\-])?",
    ),
    TokenRule(
        "mail",
        r"(&lt;|\<)?[a-zA-Z0-9][^\ \t\n\f\r\"<>|(){}\u00a0]*@"
        r"([^\ \t\n\f\r\"<>|(){}.\u00a0]+\.)*([^\ \t\n\f\r\"<>|(){}.\u00a0]+)(&gt;|\>)?",
    ),
    TokenRule("mention", r"@[a-zA-Z_][a-zA-Z_0-9]*|\#{spoken}+"),
    TokenRule("verb", "{verb}", "[^A-Za-z]", token=_closed),
    TokenRule("not", "{not}", token=_closed),
    TokenRule("date", r"{digit}{1,2}[\-/]{digit}{1,2}[\-/]{digit}{2,4}"),
    TokenRule("number", r"[\-+]?{number}", token=_no_soft_hyphens),
    TokenRule(
        "raised or lowered number",
        r"[\u207a\u207b\u208a\u208b]?([\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+)",
    ),
    TokenRule(
        "fraction",
        r"({digit}{1,4}[\- \u00a0])?{digit}{1,4}(\\?/|\u2044){digit}{1,4}",
        token=_no_break_spaces,
    ),
    TokenRule("one sign's fraction", r"[\u00bc-\u00be\u2153\u2154]", token=_FRACTIONS.__getitem__),
    TokenRule(
        "special",
        r"-(RRB|LRB|RCB|LCB|RSB|LSB)-|C\.D\.s|pro-|anti-|S(&|&amp;)P-500|S(&|&amp;)Ls"
        "|Cap{apostrophe}n|c{apostrophe}est",
        token=_plain_ampersand,
    ),
    TokenRule(
        "either/or", r"[A-Za-z0-9]+(-[A-Za-z]+){0,2}(\\?/[A-Za-z0-9]+(-[A-Za-z]+){0,2}){1,2}"
    ),
    TokenRule("dollar", r"[A-Z]*\$|\#"),
    TokenRule("money", r"[\u00a2-\u00a4\x80\u20a0\u20ac]", token=_MONEY.__getitem__),
    TokenRule(
        "letter at a sentence's end",
        r"[A-Za-z]\.",
        rf"{{space}}+({_any(_OPENERS)}|{_TAG}){{blank}}",
        give_back=1,
    ),
    TokenRule("number's name", rf"({_any(_NUMBERED)})\.", "{blank}?{digit}"),
    TokenRule("abbreviation before a letter", rf"({_any(_CLOSING)})\.", "{any}{any}"),
    TokenRule("abbreviation", rf"({_any(_CLOSING + _OPENING)}|{{initials}})\."),
    TokenRule("initials", "{initials}", "{blank}"),
    TokenRule("year", "{apostrophe}[0-9][0-9]", "{blank}"),
    TokenRule(
        "file",
        rf"({{spoken}}|{{digit}})+(\.({{spoken}}|{{digit}})+)*\.({_any(_ENDINGS)})",
        "{blank}|[.?!,]",
    ),
    TokenRule("abbreviation by its comma", r"{word}\.", "{comma}", token=_no_soft_hyphens),
    TokenRule(
        "telephone",
        r"(\([0-9]{2,3}\)[\ \u00a0]?|(\+\+?)?([0-9]{2,4}[\-\ \u00a0])?[0-9]{2,4}"
        r"[\-\ \u00a0])[0-9]{3,4}[\-\ \u00a0]?[0-9]{3,5}"
        r"|((\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}",
        token=_named_brackets,
    ),
    TokenRule("double quote", '"|&quot;', token=_always("''")),
    TokenRule("less", r"\<|&lt;", token=_always("<")),
    TokenRule("more", r"\>|&gt;", token=_always(">")),
    TokenRule(
        "smiley", r"[<>]?[:;=][\-o*']?[()DPdpO\\{@|\[\]]", "[^A-Za-z0-9]", token=_named_brackets
    ),
    TokenRule(
        "face",
        r"[\-\^x=~<>']_[\-\^x=~<>']"
        r"|\([\-\^x=~<>'][_.]?[\-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)",
        token=_named_brackets,
    ),
    TokenRule("bracket", r"[(){}\[\]]", token=_BRACKETS.__getitem__),
    TokenRule("hyphens", r"\-+", token=lambda text: "--" if 3 <= len(text) <= 4 else text),
    TokenRule("ellipsis", r"\.{3,5}|(\.[\ \u00a0]){2,4}\.|[\x85\u2026]", token=_always("...")),
    TokenRule("repeated sign", r"@+|\#+|_+|\*+|(\\\*){1,3}|[?!]+"),
    TokenRule("stop", "[.,:/]"),
    TokenRule("compound by its comma", r"{compound}\.", "{comma}", token=_no_soft_hyphens),
    TokenRule("compound", "{compound}", token=_no_soft_hyphens),
    TokenRule("thing by its comma", r"{thing}\.", "{comma}"),
    TokenRule("thing", "{thing}"),
    TokenRule("capitals by their comma", r"{capitals}\.", "{comma}", token=_plain_ampersand),
    TokenRule("capitals", "{capitals}", token=_plain_ampersand),
    TokenRule("opening apostrophe", "'", r"[A-Za-z][^\ \t\n\r\u00a0]", token=_always("`")),
    TokenRule("verb at the end", "{verb}", token=_closed),
    TokenRule(
        "quotes",
        r"{apostrophe}|''|[`\u2018-\u201f\x91-\x94\u2039\u203a\u00ab\u00bb]{1,2}",
        token=_closed,
    ),
    TokenRule("space", "{space}+|&nbsp;", token=_always("")),
    TokenRule("arrows", r"\<\<|\>\>"),
    TokenRule("sign", "{sign}"),
]
