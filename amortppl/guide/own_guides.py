"""Guides that this user saved on this machine, by their hash, in the user's own state folder.

Nothing in a guide's folder can claim to be one of them: the hash covers the place of its code, its
weights and all else that the folder holds, and the list lies elsewhere.
"""

import os
import warnings
from hashlib import sha256
from pathlib import Path

from platformdirs import user_state_path

FILES = ("guide.json", "weights.safetensors", "certificate.json")


def fingerprint_files(contents: dict[str, bytes]) -> str:
    """SHA-256 of a guide's three files; guide.json names the files of its code."""
    parts = [sha256(contents[name]).digest() for name in FILES]
    return sha256(b"".join(parts)).hexdigest()


def note(hashed: str, folder: Path) -> None:
    """Remembers a guide that was saved here.

    Warns:
        UserWarning: the state folder cannot be written, so that loading needs the model's task.
    """
    try:
        place = _place(hashed)
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(f"{folder.resolve()}\n")
    except OSError as error:
        warnings.warn(
            f"save: {folder} is not noted as a guide of your own ({error}); to load it, pass its "
            f"task, or its model's file as trust_code",
            stacklevel=4,
        )


def is_own(hashed: str) -> bool:
    """Whether this user saved such a guide on this machine, into a list that others cannot
    write.
    """
    try:
        about = _place(hashed).stat()
    except OSError:
        return False
    mine = not hasattr(os, "getuid") or about.st_uid in (os.getuid(), 0)
    return mine and not about.st_mode & 0o022


def _place(hashed: str) -> Path:
    return user_state_path("amortppl", appauthor=False) / "guides" / hashed
