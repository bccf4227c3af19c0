"""Compiled programs kept between processes, in the user's cache folder.

JAX's persistent compilation cache, switched on with a bound on its size. Its entries are read and
written under a file lock, so that any number of processes share a folder. A folder holds machine
code that is run: the default one is the user's own and writable by nobody else.

Leans on `jax_compilation_cache_max_size` needing the package filelock (JAX 0.12.0.1).
"""

import os
import warnings
from pathlib import Path

import jax
from platformdirs import user_cache_path

VARIABLE = "AMORTPPL_CACHE"
"""The environment variable: `off`, or a folder other than the user's cache folder."""

OFF = ("off", "0", "no", "false")

LARGEST = 2 << 30
"""Bytes of the folder; the programs used least recently are dropped beyond it."""

QUICK = 0.05
"""Seconds of compiling below which a program is not kept: reading it back takes as long."""


def use_program_cache() -> Path | None:
    """Switches the persistent compilation cache on; where one is configured already, it stays.

    Returns:
        The folder, or None where no cache is used: `AMORTPPL_CACHE=off`, JAX's own switch
        `jax_enable_compilation_cache`, or a folder that cannot be used.

    Warns:
        UserWarning: the folder cannot be made, or others may write to it.

    Example:
        >>> import os
        >>> os.environ["AMORTPPL_CACHE"] = "off"
        >>> use_program_cache() is None or bool(jax.config.jax_compilation_cache_dir)
        True
    """
    if jax.config.jax_compilation_cache_dir:
        return Path(jax.config.jax_compilation_cache_dir)
    path = program_cache_path()
    if path is None or not jax.config.jax_enable_compilation_cache or not _usable(path):
        return None
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", QUICK)
    jax.config.update("jax_compilation_cache_dir", str(path))
    return path


def program_cache_path() -> Path | None:
    """The folder that `AMORTPPL_CACHE` names, else the user's; None where it says off."""
    named = os.environ.get(VARIABLE, "").strip()
    if named.lower() in OFF:
        return None
    return Path(named).expanduser() if named else user_cache_path("amortppl") / "programs"


def _usable(path: Path) -> bool:
    """Whether the folder can be written to by this user, and by no other."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        warnings.warn(_unused(path, f"it cannot be made ({error.strerror})"), stacklevel=4)
        return False
    if not os.access(path, os.W_OK | os.X_OK):
        warnings.warn(_unused(path, "it is not writable"), stacklevel=4)
        return False
    about = path.stat()
    if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o022):
        reason = "others may write to it, and programs in it are run"
        warnings.warn(_unused(path, reason), stacklevel=4)
        return False
    return True


def _unused(path: Path, reason: str) -> str:
    return (
        f"compiled programs are not kept in {path}: {reason}. Set {VARIABLE} to another folder, or "
        f"to 'off'"
    )
