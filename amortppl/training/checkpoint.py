"""Checkpoints of a training run, from which an interrupted one continues."""

from pathlib import Path
from typing import Any

from amortppl.errors import TrainingError
from amortppl.runtime.files import pack, unpack, write


def save_run(
    path: str | Path, learner: Any, identity: dict[str, Any], record: dict[str, Any]
) -> None:
    """Writes a training run.

    Args:
        path: the file.
        learner: weights and the optimiser's state.
        identity: what a run that continues must agree on.
        record: what happened so far.
    """
    write(path, pack(learner, {"identity": identity, "record": record}))


def expect_run(path: str | Path) -> None:
    """Raises TrainingError where no file is."""
    if not Path(path).is_file():
        raise TrainingError(f"resume: expected a checkpoint file, found none at {path}")


def load_run(path: str | Path, like: Any, identity: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Reads a training run back.

    Raises:
        TrainingError: no such file, damaged, or of another task, method, schedule or seed.
    """
    expect_run(path)
    try:
        learner, about = unpack(path, like)
    except ValueError as error:
        raise TrainingError(f"resume: {error}") from error
    differ = [k for k, v in identity.items() if about["identity"].get(k) != v]
    if differ:
        raise TrainingError(
            f"resume: {path} is a run with another {', '.join(differ)}: "
            f"{[about['identity'].get(k) for k in differ]} "
            f"there, {[identity[k] for k in differ]} here. Continue with the same settings, or "
            "start anew without resume"
        )
    return learner, about["record"]
