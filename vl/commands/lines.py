"""Lines of results on stdout, whatever letters are in them."""

import sys


def write_line(line: str) -> None:
    """Print; what the stream has no letters for is written as its number."""
    try:
        print(line)
    except UnicodeEncodeError:  # a name that is not UTF-8, or a terminal that knows fewer letters
        code = sys.stdout.encoding
        print(line.encode(code, "backslashreplace").decode(code))
