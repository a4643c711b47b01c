r"""Tab-separated lines that a program can split again, whatever their fields hold.

As in PostgreSQL's text format, ``\t``, ``\n``, ``\r`` and ``\\`` stand for a tab, the two line
ends and a backslash, and quotes mean nothing. Other unprintable characters, and bytes of a file
name that are not UTF-8, are written as in Python: ``\x1b``, ``\u2028``, ``\udcff``. Python reads a
field by ``field.encode("latin-1", "backslashreplace").decode("unicode_escape")``.
"""

import re

from vl.data.files import UNPRINTABLE

_SPECIAL = re.compile(UNPRINTABLE.pattern + r"|[\\\u2028\u2029]")  # the last two are line ends

_ESCAPE = re.compile(r"\\(?:[tnr\\]|x[0-9a-f]{2}|u[0-9a-f]{4}|U000[0-9a-f]{5})")


def tsv_line(*fields: str) -> str:
    """The fields, escaped, with a tab between two of them; without a line end."""
    return "\t".join(map(escape_field, fields))


def escape_field(text: str) -> str:
    """A text with escapes for a backslash and for all that is not printable, such as a tab."""
    return _SPECIAL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def unescape_field(text: str) -> str:
    """The text that `escape_field` has made this of."""
    return _ESCAPE.sub(lambda match: match[0].encode("ascii").decode("unicode_escape"), text)
