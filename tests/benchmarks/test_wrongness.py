"""No wrong answer without a word: a line a case, right / clear error / marked unreliable /
SILENT.
"""

import warnings

import jax
import pytest

import wrongness.columns
import wrongness.inside
import wrongness.labels
import wrongness.shapes
import wrongness.sizes
import wrongness.strange_data
import wrongness.strange_models
import wrongness.streams
import wrongness.verbs
import wrongness.weights  # noqa: F401
from wrongness.registry import CASES, outcome


@pytest.fixture(autouse=True)
def few_optimisations(as_a_user):
    """What is measured here is no time."""
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_wrongness(name, say):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = outcome(CASES[name])
    say(f"{result.verdict:18s} {name}: {result.message}")
    assert result.verdict in ("right", "clear error", "marked unreliable")
