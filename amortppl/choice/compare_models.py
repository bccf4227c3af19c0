"""Trains a classifier between models, and asks it which of them made a dataset."""

import time
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.random as jr
import numpy as np
import pandas as pd

from amortppl.choice.calibration import calibration_table
from amortppl.choice.choice_task import choice_task, expect_prior
from amortppl.choice.classifier import Classifier, ClassifierOptions
from amortppl.data.columns import Columns
from amortppl.data.dataset import read
from amortppl.errors import DataError, ModelError, OutOfRangeWarning
from amortppl.method import final
from amortppl.posterior.padding import chunks
from amortppl.runtime.arguments import expect_seed, expect_whole
from amortppl.runtime.compilation import Compiled, run_once
from amortppl.runtime.seeds import seed_key
from amortppl.task.abstract import AbstractTask
from amortppl.task.batch import Batch
from amortppl.training.loop import run_training
from amortppl.training.record import Record
from amortppl.training.schedule import Schedule
from amortppl.training.simulate import WHOLE, parts, simulate
from amortppl.training.trained import TrainedMethod
from amortppl.training.trainer import Trainer
from amortppl.trust.misspecification import FLAG, Familiarity


class ModelChoice(TrainedMethod):
    """A trained classifier between K models; what `compare_models` gives.

    Attributes:
        names: of the models.
        tasks: the models.
        prior: probability of each before any data.
    """

    def __init__(
        self,
        method: Classifier,
        spec: ClassifierOptions,
        record: Record,
        seed: int,
        tasks: Sequence[AbstractTask],
        prior: list[float],
        names: list[str],
    ) -> None:
        super().__init__(method, spec, record, seed)
        self.tasks, self.prior, self.names = list(tasks), prior, names

    @cached_property
    def familiarity(self) -> Familiarity:
        """What datasets of the models look like to it."""
        return Familiarity.from_simulations(self)

    def probabilities(self, data: Any, columns: Columns | None = None) -> pd.DataFrame:
        """p(k | D) of one dataset or of a list of datasets: a row a dataset, a column a model.

        The column `distance_p` says how unlike a dataset is to those that any of the models makes
        (`amortppl.trust.misspecification`): a dataset of the models has p <= a with probability a.
        Where it is small none of the models may be right, and the probabilities say little.

        Raises:
            DataError: the data do not fit the models.

        Warns:
            OutOfRangeWarning: the least `distance_p` is that of a dataset that is unlike them all.
        """
        many = list(data) if isinstance(data, list | tuple) else [data]
        if not many:
            raise DataError("data: expected at least one dataset, got an empty list")
        datasets = [read(self.task, d, columns) for d in many]
        rows = {}
        for chunk in chunks(self.task, datasets):
            seen = chunk.pick(_look(self.method, chunk.batch))
            rows |= {i: [a[j] for a in seen] for j, i in enumerate(chunk.places)}
        each = [rows[i] for i in range(len(datasets))]
        table = pd.DataFrame(np.exp([np.asarray(e[0]) for e in each]), columns=self.names)
        features = np.stack([np.asarray(e[1], np.float64) for e in each])
        counts = np.array([d.rows for d in datasets], float)
        nothing = np.zeros((len(each), 0))
        table["distance_p"] = self.familiarity.judge(self, features, nothing, counts).distance_p
        strange = int((table["distance_p"] < FLAG).sum())
        if strange:
            warnings.warn(
                f"{strange} of {len(table)} datasets are unlike those that any of the models makes "
                f"(p = {table['distance_p'].min():.2g} at least): none of them may be right",
                OutOfRangeWarning,
                stacklevel=2,
            )
        return table

    def diagnose(self, datasets: int = 1000, seed: int = 0) -> pd.DataFrame:
        """Are the probabilities calibrated? Over fresh datasets, a row a model.

        The columns are

        - `share`, `probability`: the share of the datasets that it made, and its mean probability,
        - `recognised`: of the datasets that it made, the share in which it is the most probable,
        - `calibration_error`: expected, over ten bins,
        - `calibration_p`: a p-value of calibration, corrected for the number of models.

        In `attrs` are the mean `log_score` in nats, and `confusion`, the mean probability of each
        model (columns) for datasets of each (rows).

        Args:
            datasets: how many, at least 20.
            seed: of the simulations.
        """
        expect_whole("diagnose: datasets", datasets, 20)
        expect_seed(seed)
        task = choice_task(self.tasks, self.prior, learn=False)
        key = jr.fold_in(seed_key(seed), 29)
        made = run_once(simulate, task, key, parts(task, datasets, 1, WHOLE), 0)
        log_p = np.asarray(_look(self.method, made.batches[0])[0], np.float64)
        truth = np.asarray(made.target.latents)[:, 0].astype(int)
        usable = np.asarray(made.usable)
        return calibration_table(np.exp(log_p[usable]), truth[usable], self.names)


def compare_models(
    tasks: Sequence[AbstractTask],
    *,
    prior: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    encoder: Any = "deep_set",
    seed: int = 0,
    progress: bool = True,
    **schedule: Any,
) -> ModelChoice:
    """Learns which of several models or simulators made a dataset, for any dataset at once.

        p(k | D) = p(k) p(D | k) / sum_j p(j) p(D | j)

    No likelihood is needed: a network is trained on datasets of all models to name theirs.

    Args:
        tasks: K of them, with the same data: arguments, shapes, rows.
        prior: probability of each model, by default 1 / K.
        names: what to call them, by default the tasks' names.
        encoder: of the data, as of `parametric`.
        seed: the same seed on the same machine gives the same weights.
        progress: whether to report while training.
        schedule: `steps`, `minutes` and further fields of the training schedule.

    Returns:
        A `ModelChoice`, with `probabilities(data)` and `diagnose()`.

    Raises:
        ModelError: fewer than two tasks, or tasks of other data.

    Example:
        >>> import amortppl as ap, jax.random as jr, numpyro.distributions as dist
        >>> prior = {"mean": dist.Normal(0, 1)}
        >>> def narrow(mean, rows, key):
        ...     return mean + jr.normal(key, (rows,))
        >>> def wide(mean, rows, key):
        ...     return mean + 5 * jr.normal(key, (rows,))
        >>> tasks = [ap.Task.from_simulator(prior, s, rows=(5, 9)) for s in (narrow, wide)]
        >>> choice = ap.compare_models(tasks, steps=25, progress=False)
        >>> choice.probabilities({"x": [9.0, -9.0, 1.0, -1.0, 4.0]}).round().columns.tolist()
        ['narrow', 'wide', 'distance_p']
        >>> choice.diagnose(datasets=50).index.tolist()
        ['narrow', 'wide']
    """
    tasks = list(tasks)
    if len(tasks) < 2 or not all(isinstance(t, AbstractTask) for t in tasks):
        raise ModelError(
            "compare_models: expected a list of at least two tasks, got "
            f"{[type(t).__name__ for t in tasks]}"
        )
    expect_seed(seed)
    labels = _names(tasks, names)
    weights = expect_prior(prior, len(tasks))
    task, spec = choice_task(tasks, weights, learn=True), ClassifierOptions(len(tasks), encoder)
    if schedule.get("minutes") is not None:
        schedule = {"steps": None, **schedule}
    plan = Schedule(**{**spec.schedule(task), **schedule})
    begin = time.monotonic()
    trainer = Trainer(task, spec, plan, seed)
    learner, record = run_training(trainer, begin, None, None, progress)
    method = trainer.method(trainer.chosen(learner))
    return ModelChoice(method, spec, record, seed, tasks, weights, labels)


def _names(tasks: Sequence[AbstractTask], names: Sequence[str] | None) -> list[str]:
    labels = [t.name for t in tasks] if names is None else list(names)
    if len(labels) != len(tasks) or len(set(labels)) < len(labels):
        raise ModelError(
            f"compare_models: names: expected {len(tasks)} names that differ, got {labels}"
        )
    return labels


@Compiled
def _look(method: Classifier, batches: Batch) -> tuple:
    """Log probabilities (T, K) and features (T, F) of T datasets of one shape."""

    def one(batch: Batch) -> tuple:
        state = final(method, batch)
        return method.readout(state).log_probabilities, method.summary(state)

    return jax.vmap(one)(batches)
