"""Places to write to, refused where writing would destroy what a command reads or another keeps."""

from collections.abc import Iterable
from pathlib import Path

from amortppl.runtime.files import expect_plain, unpack


def expect_output(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuses a file to write that would destroy something else.

    Args:
        path: the file to write.
        inputs: files and folders that are read.

    Raises:
        OSError: it is one of `inputs` or inside one, no plain file, or inside a guide's folder.
    """
    path = Path(path)
    expect_plain(path)
    expect_outside_guides(path)
    place = path.resolve()
    for given in map(Path, inputs):
        same = given.exists() and path.exists() and given.samefile(path)
        if same or given.resolve() == place:
            raise FileExistsError(f"{path}: is read by the same command; name another file")


def expect_outside_guides(path: Path) -> None:
    """Refuses a place inside the folder of a guide.

    Raises:
        OSError: naming the guide.
    """
    for folder in path.absolute().parents:
        if (folder / "guide.json").is_file() and (folder / "weights.safetensors").is_file():
            raise FileExistsError(f"{path}: lies inside a guide's folder; name another place")


def expect_kept(path: str | Path, key: str) -> None:
    """Refuses to replace a file that this library did not write for the same use.

    Args:
        path: the file to write.
        key: what is told beside the arrays of such a file.

    Raises:
        OSError: there is a file of another kind.
    """
    path = Path(path)
    expect_output(path)
    if not path.exists() or not path.stat().st_size:
        return
    try:
        about = unpack(path, None)[1]
    except ValueError as error:
        raise FileExistsError(
            f"{path}: exists, and is no file that may be replaced ({error}); name another file, or "
            f"delete it"
        ) from error
    if key not in about:
        raise FileExistsError(f"{path}: exists and holds something else; name another file")
