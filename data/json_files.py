"""The content of text files and of JSON, from gzip if it is that; what cannot be read is named.

It knows nothing of what a file should say.
"""

import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.errors import FormatError

_GZIP = b"\x1f\x8b"  # the first two bytes of every gzip file (RFC 1952)


def text_of(path: Path, content: bytes) -> str:
    """A file's content as text, from gzip if it is that; a byte order mark is left out.

    Args:
        path: the file, for the message.
        content: all of it.

    Raises:
        FormatError: it begins as gzip does and is broken, or it is not UTF-8.
    """
    if content.startswith(_GZIP):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise FormatError(path, f"this gzip cannot be unpacked: {error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problem = f"this is not UTF-8: {error.reason}"
        raise FormatError(path, problem, record=f"byte {error.start}") from error


def parsed(
    path: Path, text: str, *, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None
) -> Any:
    """What a text of JSON says.

    Args:
        path: the file, for the message.
        text: all of it.
        pairs: makes an object of its keys and values, and refuses them by a ValueError.

    Raises:
        FormatError: it is not JSON, or none that can be read.
    """
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}" if text.strip() else None
        problem = f"this is not JSON: {error.msg}" if text.strip() else "the file is empty"
        raise FormatError(path, problem, record=place) from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits, lists in lists
        raise FormatError(path, f"this JSON cannot be read: {error}") from error


def kind(value: object) -> str:
    """What people call a value of JSON."""
    if value is None:
        return "null"
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false"}
    return kinds.get(type(value), f"the number {value}")
