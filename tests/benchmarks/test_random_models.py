"""2,000 random models: how many are accepted, and refused for which reason; none is read wrongly
or refused without a clear error.
"""

from collections import Counter

import pytest

from random_models.running import number_of_models, outcomes, seed_of_the_day, table

NUMBER = 2000
"""Of which four fifths are NumPyro's."""


@pytest.mark.parametrize("language, share", [("numpyro", 0.8), ("pyro", 0.2)])
def test_two_thousand_models(language, share, say):
    if language == "pyro":
        pytest.importorskip("pyro")
    number, seed = int(share * number_of_models(NUMBER)), seed_of_the_day()
    counted: Counter[tuple[str, str]] = Counter()
    bad = []
    for described, outcome in outcomes(language, number, seed):
        counted[outcome] += 1
        if outcome.bad:
            bad.append(described)
            say(f"{outcome.kind}: {outcome.reason}\n  {described!r}")
    say(f"{number} models of {language}, seed {seed}\n{table(counted)}")
    assert not bad
