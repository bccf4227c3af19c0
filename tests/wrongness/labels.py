"""Labels of groups and of outcomes, counts and shares."""

import jax
import numpy as np
import pandas as pd

import amortppl as ap
from wrongness.columns import OUT, SLOPE, SMALL, choice, parts, share, success, trials, wrong_line
from wrongness.registry import against, case, gaussian, on_grid, posterior
from wrongness.strange_data import GROUPS, accepted, counts, effects


def groups(labels):
    """The group means that these labels give y = label + noise."""
    labels, noise = np.asarray(labels), np.random.default_rng(3).normal(size=len(labels))
    y = labels + noise
    one_hot = (labels.astype(int)[:, None] == np.arange(4)) * 1.0
    return y, gaussian(one_hot, y)


@case("group labels unsorted, with repeats and gaps")
def unsorted_groups():
    labels = np.array([3, 0, 3, 3, 0, 1, 3])
    y, truth = groups(labels)
    return against(posterior(ap.Task(effects, GROUPS), {"g": labels, "y": y}), {"a": truth})


@case("a group with one row")
def group_of_one():
    labels = np.array([0] * 20 + [2])
    y, truth = groups(labels)
    return against(posterior(ap.Task(effects, GROUPS), {"g": labels, "y": y}), {"a": truth})


@case("group labels as floats, as CSV with gaps has them")
def groups_as_floats():
    labels = np.array([3.0, 0.0, 1.0, 2.0, 2.0])
    y, truth = groups(labels)
    return against(posterior(ap.Task(effects, GROUPS), {"g": labels, "y": y}), {"a": truth})


@case("group labels from 1", "'g'", "4", "0 to 3")
def groups_from_one():
    return accepted(ap.Task(effects, GROUPS), {"g": np.array([1, 2, 3, 4]), "y": np.ones(4)})


@case("group labels that are half numbers", "'g'", "whole numbers", "0.5", "row 1")
def half_groups():
    return accepted(ap.Task(effects, GROUPS), {"g": np.array([1, 0.5, 3]), "y": np.ones(3)})


@case("a pandas category of other labels", "'g'", "index among 4", "row 0")
def category_of_other_labels():
    labels = pd.Series(pd.Categorical([10, 30, 20, 40]))
    return accepted(ap.Task(effects, GROUPS), {"g": labels, "y": pd.Series(np.ones(4))})


@case("a pandas category of words", "'g'", "'north'", "categories")
def category_of_words():
    labels = pd.Series(pd.Categorical(["north", "south", "north"]))
    return accepted(ap.Task(effects, GROUPS), {"g": labels, "y": pd.Series(np.ones(3))})


@case("a percentage where a share is expected", "'y'", "support", "row 1")
def percentage():
    return wrong_line(share, y=np.linspace(1, 99, 33))


@case("a share of exactly 0", "'y'", "0.0", "row 4", "support")
def share_of_zero():
    return wrong_line(share, y=np.where(np.arange(33) == 4, 0.0, 0.5))


@case("shares that do not add up to one", "'y'", "support")
def shares_of_ninety():
    return wrong_line(parts, y=np.full((33, 3), 0.3))


@case("counts that are rates", "'y'", "whole numbers", "1.5", "row 1")
def rates():
    return accepted(ap.Task(counts, GROUPS), {"g": [0, 1, 2], "y": [1.0, 1.5, 2.0]})


@case("a negative count", "'y'", "-1", "row 1", "support")
def negative_count():
    return accepted(ap.Task(counts, GROUPS), {"g": [0, 1, 2], "y": [1, -1, 2]})


@case("more successes than trials", "'y'", "7", "row 1", "support")
def more_than_trials():
    return accepted(
        ap.Task(trials, {"n": lambda key, n: jax.random.randint(key, (n,), 5, 9)}),
        {"n": np.array([5, 6, 8]), "y": np.array([5, 7, 8])},
    )


@case("labels 1 and 2 of two outcomes", "'y'", "2", "support")
def labels_one_and_two():
    return wrong_line(success, y=np.where(OUT > 0, 2, 1))


@case("labels 1 to 3 of three outcomes", "'y'", "3", "support")
def labels_one_to_three():
    return wrong_line(choice, y=np.arange(33) % 3 + 1)


@case("outcomes as booleans")
def boolean_outcome():
    y = OUT > 0

    def joint(w):
        logits = SMALL[:, None] * w
        return -(w**2) / 2 + np.sum(y[:, None] * logits - np.logaddexp(0, logits), 0)

    post = posterior(ap.Task(success, SLOPE), {"x": SMALL, "y": y})
    return against(post, {"w": on_grid(joint, -5, 5)})
