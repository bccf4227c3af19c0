"""The encoding of a text file, read off its beginning."""

import codecs
import re
import warnings
from pathlib import Path

from amortppl.errors import DesignWarning


def encoding_of(path: Path, head: bytes, whole: bool) -> str:
    """UTF-16 by its mark, UTF-8 with or without one, else Windows-1252 with a warning.

    >>> encoding_of(Path("rows.csv"), "x,caf\u00e9".encode(), True)
    'utf-8'

    Args:
        path: for messages.
        head: the first bytes.
        whole: whether these are all; else the last character may be cut.

    Raises:
        ValueError: zero bytes, so it is no text.
        UnicodeDecodeError: it is text in none of these.

    Warns:
        DesignWarning: it is read as Windows-1252.
    """
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    if b"\0" in head[:4096]:
        raise ValueError("it holds zero bytes, so it is no text, or UTF-16 without its mark")
    if head[:3] == b"\xef\xbb\xbf":
        return "utf-8-sig"
    return "utf-8" if _is_utf8(head, whole) else _windows(path, head)


def _is_utf8(head: bytes, whole: bool) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, whole)
    except UnicodeDecodeError:
        return False
    return True


def _windows(path: Path, head: bytes) -> str:
    """Windows-1252, as Excel saves CSV in Western Europe."""
    try:
        control = re.search(r"[\x00-\x08\x0e-\x1f]", head.decode("cp1252"))
    except UnicodeDecodeError:
        control = True
    if control:
        head.decode("utf-8")  # raises, and says where
    warnings.warn(
        f"{path}: not UTF-8, so read as Windows-1252 (Latin-1); if letters with accents look "
        "wrong, save it as UTF-8",
        DesignWarning,
        stacklevel=4,
    )
    return "cp1252"
