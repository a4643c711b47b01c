"""Characters that would command a terminal or cannot be written, and a text without them.

It imports nothing: the command line has it before it knows what will be asked of it.
"""

# Controls, formatting, halves of characters.
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
_ESCAPES = {
    ord(character): character.encode("unicode_escape").decode("ascii")
    for character in UNPRINTABLE - {"\n"}
}


def escaped(text: str) -> str:
    r"""A text as a terminal may have it: ``\x1b`` for an escape; only line ends stay."""
    return text.translate(_ESCAPES)
