"""Several groupings of the same rows, crossed or nested, in one task.

A model of subjects and items, or of rooms in schools, has its effects in plates of `n_subject`,
`n_item`, ... Here these are the most that a dataset may have, and each label of a dataset takes one
place. Places without a label have the posterior of groups without rows, which are a new group's:

    crossed    place of subject s:             0 .. n_subject - 1
    nested     place of room r in school s:    s M + r,  r = 0 .. M - 1

with M the most rooms of a school, so that the school of each place is the same in every dataset.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax.random as jr
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from amortppl.errors import ModelError, quoted
from amortppl.task.inputs import Source, row_range


class Places(NamedTuple):
    """One of several groupings.

    Attributes:
        name: the argument with the index of each row's group.
        fewest, most: of its groups in a dataset; of a nested one, in a group of the outer.
        outer: the grouping that it is nested in, or none.
        places: of all its groups.
    """

    name: str
    fewest: int
    most: int
    outer: str | None
    places: int


class SeveralGroups:
    """The groupings of a task.

    Args:
        model_name: for messages.
        model: with arguments `room` and `n_room` for each grouping `room`.
        groups: fewest and most groups of each.
        by_group: `{"room": ["school"]}` where every room lies in one school.

    Raises:
        ModelError: the model has no such arguments, or the groupings do not nest so.
    """

    def __init__(
        self,
        model_name: str,
        model: Callable[..., Any],
        groups: Mapping[str, tuple[int, int] | int],
        by_group: Mapping[str, Sequence[str]],
    ) -> None:
        self.model_name = model_name
        parameters = inspect.signature(model).parameters
        for name in groups:
            for wanted in (name, f"n_{name}"):
                if wanted not in parameters:
                    raise ModelError(
                        f"{model_name}: groups names {name!r}, and the model has no argument "
                        f"{wanted!r}; it has {quoted(parameters)}"
                    )
        outer = self._nesting(groups, by_group)
        self.groupings: dict[str, Places] = {}
        for name in sorted(groups, key=lambda n: n in outer):
            low, high = row_range(groups[name]) or (1, 1)
            above = outer.get(name)
            places = high * (self.groupings[above].places if above else 1)
            self.groupings[name] = Places(name, low, high, above, places)

    def _nesting(
        self, groups: Mapping[str, Any], by_group: Mapping[str, Sequence[str]]
    ) -> dict[str, str]:
        outer: dict[str, str] = {}
        for inner, arguments in by_group.items():
            for argument in arguments:
                if inner not in groups or argument not in groups:
                    raise ModelError(
                        f"{self.model_name}: by_group={{{inner!r}: [{argument!r}]}} with several "
                        f"groupings says that every {inner} lies in one {argument}; the groupings "
                        f"are {quoted(groups)}. Give values of a group as inputs of its rows"
                    )
                outer[inner] = argument
        deep = [n for n in outer if outer[n] in outer]
        if deep or len(set(outer.values()) & set(outer)):
            raise ModelError(
                f"{self.model_name}: {quoted(deep)} is nested in a grouping that is itself nested; "
                "two levels are possible. Write the index of the third as an input of its rows"
            )
        return outer

    def expect_free(self, described: Mapping[str, Any]) -> None:
        """Raises where inputs or constants describe what comes from labels.

        Raises:
            ModelError: naming it.
        """
        for name in self.groupings:
            for given in (name, f"n_{name}"):
                if given in described:
                    raise ModelError(
                        f"{self.model_name}: {given!r} is described twice; with {name!r} in "
                        "`groups` it comes from the data's labels. Take it out of `inputs` and "
                        "`constants`"
                    )

    @contextmanager
    def explain(self) -> Iterator[None]:
        """Adds to the error of a model that cannot be run what it was given as indices."""
        try:
            yield
        except ModelError as error:
            raise ModelError(f"{str(error).rstrip('.')}. {self._given()}") from error

    def _given(self) -> str:
        """The indices that the model gets, and what to do where it takes others."""
        if self.nested:
            own, outer = next(iter(self.nested.items()))
            return (
                f"As by_group says that every {own} lies in one {outer}, the model gets the "
                f"{outer} of each {own} ({self.groupings[own].places} of them), not of each row; "
                "where it takes that of each row, leave by_group out"
            )
        outer, own, *_ = self.groupings
        return (
            f"The model gets {quoted(self.groupings)} of each row; where every {own} lies in one "
            f"{outer} and the model takes the {outer} of each {own}, pass "
            f"by_group={{{own!r}: [{outer!r}]}}"
        )

    @property
    def nested(self) -> dict[str, str]:
        """The outer grouping of each nested one."""
        return {n: g.outer for n, g in self.groupings.items() if g.outer}

    @property
    def arguments(self) -> list[str]:
        """Indices that the model has one of for each row; others have one for each inner group."""
        return [n for n in self.groupings if n not in self.nested.values()]

    def constants(self) -> dict[str, Any]:
        """Numbers of places, and of nested groupings the outer group of each place."""
        numbers: dict[str, Any] = {f"n_{n}": g.places for n, g in self.groupings.items()}
        of_place = {
            g.outer: np.repeat(np.arange(self.groupings[g.outer].places), g.most)
            for g in self.groupings.values()
            if g.outer
        }
        return numbers | of_place

    def sources(self) -> dict[str, Source]:
        """Indices of simulated rows: as many groups as are drawn, rows in any of these alike."""
        return {
            n: Source(lambda key, rows, n=n: self._simulate(n, key, rows)) for n in self.arguments
        }

    def _simulate(self, name: str, key: PRNGKeyArray, rows: int) -> Array:
        own = self.groupings[name]
        if own.outer is None:
            count = jr.randint(jr.fold_in(key, 0), (), own.fewest, own.most + 1)
            return jr.randint(jr.fold_in(key, 1), (rows,), 0, count)
        above = self._simulate(own.outer, jr.fold_in(key, 2), rows)
        places = self.groupings[own.outer].places
        counts = jr.randint(jr.fold_in(key, 0), (places,), own.fewest, own.most + 1)
        return above * own.most + jr.randint(jr.fold_in(key, 1), (rows,), 0, counts[above])

    def axis_of(self, plate: str, size: int) -> str | None:
        """The grouping that a plate is of: called after it, and with as many places."""
        for name, own in self.groupings.items():
            if plate.lower().startswith(name.lower().rstrip("_")) and size == own.places:
                return name
        return None
