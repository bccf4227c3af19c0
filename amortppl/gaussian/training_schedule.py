"""The training schedule of a parametric posterior that was measured best for a kind of task."""

from typing import Any

from amortppl.gaussian.plate_detection import in_plates
from amortppl.task.abstract import AbstractTask


def best_schedule(task: AbstractTask, signals: tuple[str, ...]) -> dict[str, Any]:
    """Fields of `amortppl.training.schedule.Schedule`.

    A flow that learns all from data needs many updates, and gains more by their number than by
    their size (two moons: C2ST 0.548 after 20,000 of 64, 0.557 after 6,000 of 128, two seeds). A
    block, which is one row, can afford many, and the effects of groups gain by them
    (partial_pooling_pyro, held-out nats: 1.5 after 1,000 updates of 128, 1.8 after 3,000, standard
    error 0.3).

    With frames, effects of groups are learned from a pool of tasks scored on several draws each:
    a task's own latents alone were learned by heart (hierarchical logistic regression, 20 groups:
    held-out loss after 25 updates and at the end 27.9 and 27.8 with them, 28.3 and 28.6 without).

    Where groups are data, so that their effects are integrated out, a frame costs a hundred times
    what its score does, and a pool is used too (`hierarchical_logistic`, 4 to 48 groups: 1.07 CPU s
    an update of 64 fresh tasks, 0.1 from the pool; held-out loss 2.77 after 25 updates, 2.50 after
    200, 2.52 after 400). Latents of single rows are learned from fresh tasks: after 300 updates
    from a pool `spread` of overdispersed_poisson was outside its band (4000 datasets), inside
    after 600 of fresh tasks.

    The rows of a series follow one another, so that a frame costs far more than its score there
    too: AR(2) of 50 to 200 rows, 60 CPU s: some 150 updates of fresh tasks had means up to 0.07 sd
    and sds up to 14% off at 50 rows, 4,750 from a pool 0.05 sd and 7%. Paths that a filter
    integrates out in closed form likewise (a hidden Markov model of 50 to 100 rows, about 110 CPU
    s, of which 33 are compilation: 2,350 updates from a pool of 16; 25 of fresh tasks
    took 55 s).

    The effects of several groupings that are not drawn given their scales
    (`amortppl.gaussian.conditional_guide`, which learns nothing) are one part of the frame's
    search, whose cost grows with their square (11 ms of CPU a task for 8 subjects and 6 items,
    0.55 s for 30 and 20). Their pool is the smaller the more latents there are, and the run is
    short: of 300 updates for `crossed` the held-out loss was least after 100.

    Args:
        task: the task.
        signals: what a step sees; see `inference/parametric.py`.
    """
    if signals == ("data",):
        return {"steps": 20_000, "batch": 64}
    if task.several and "curvature" in signals:
        dear = max(1.0, (task.latents.size / 20) ** 2)
        few = {"pool": max(2, round(16 / dear)), "reuses": round(12 * dear)}
        return {"steps": 400, "batch": 64, "pooled": True, **few}
    if in_plates(task).any() and "curvature" in signals:
        return {"steps": 600, "batch": 128, "pooled": True}
    if task.grouping and "curvature" in signals:
        return {"steps": 300, "batch": 64, "pooled": True, "pool": 16, "reuses": 12}
    if task.ordered and not task.local and "curvature" in signals:
        return {"steps": 4000, "batch": 64, "pooled": True, "reuses": 12}
    if task.local and task.local.in_turn and not task.local.dear and "curvature" in signals:
        return {"steps": 1000, "batch": 64, "pooled": True, "pool": 16, "reuses": 12}
    if task.block or in_plates(task).any():
        return {"steps": 3000, "batch": 128}
    return {"steps": 600, "batch": 64}
