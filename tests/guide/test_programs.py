"""A second call with sizes from the same range compiles nothing, whatever is asked."""

import numpy as np
import pandas as pd
import pytest

import amortppl as ap


def rows(count, seed):
    return {"y": 1.0 + np.random.default_rng(seed).normal(size=count)}


def several(sizes):
    return [rows(size, i) for i, size in enumerate(sizes)]


def long(sizes):
    each = [pd.DataFrame(rows(size, i)).assign(who=i) for i, size in enumerate(sizes)]
    return pd.concat(each, ignore_index=True)


CALLS = {
    "infer": lambda guide, n, seed: guide.infer(rows(n, seed), draws=60, seed=seed),
    "infer a list": lambda guide, n, seed: guide.infer(
        several(range(n - 3, 17)), draws=60, seed=seed
    ),
    "map_batches": lambda guide, n, seed: guide.map_batches(
        long(range(n - 3, 17)), "who", draws=60, seed=seed
    ),
    "infer up the ladder": lambda guide, n, seed: guide.infer(
        several([n, n - 1, n - 2][: 2 + seed % 2]), draws=60, seed=seed, trust="ladder", ess=1e9
    ),
    "predict": lambda guide, n, seed: guide.predict(rows(n, seed), at=n, draws=60, seed=seed),
    "log_predictive": lambda guide, n, seed: guide.log_predictive(
        rows(n, seed), rows(n - 1, seed), draws=60, seed=seed
    ),
    "diagnose": lambda guide, n, seed: ap.diagnose(guide, 20, draws=20, seed=seed),
    "stream": lambda guide, n, seed: guide.infer(
        ap.batches(rows(10 * n, seed), size=8), draws=60, seed=seed, progress=False
    ),
    "step": lambda guide, n, seed: (
        guide.step(guide.step(guide.init(), rows(n, seed)), rows(n - 1, seed)).posterior
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_second_call_compiles_nothing(mean_guide, compilations, call):
    CALLS[call](mean_guide, 12, 0)
    CALLS[call](mean_guide, 14, 1)
    CALLS[call](mean_guide, 13, 2)
    first = list(compilations)
    compilations.clear()
    CALLS[call](mean_guide, 15, 3)
    assert compilations == [], f"{len(first)} programs earlier"


@pytest.mark.filterwarnings("ignore::amortppl.errors.UnreliableWarning")  # of few draws
def test_a_list_of_any_length_compiles_one_program_a_bucket(line_guide, line_data, compilations):
    def some(count):
        return [{n: v[: 3 + i % 17] for n, v in line_data.items()} for i in range(count)]

    line_guide.infer(some(17), draws=40)  # padded to 8, 16 and 32 rows
    assert compilations.count("jit(states)") <= 3
    compilations.clear()
    for count in (19, 40):
        line_guide.infer(some(count), draws=40, seed=count)
    assert compilations == []


@pytest.mark.filterwarnings("ignore::amortppl.errors.UnreliableWarning")  # of few draws
def test_a_dataset_has_its_answer_whatever_list_it_is_in(line_guide, line_data):
    """Up to the order of float32 sums: chunks hold other datasets, and draws their own keys."""
    some = [{n: v[:size] for n, v in line_data.items()} for size in (20, 5, 9, 7)]
    single = line_guide.infer(some[0], draws=40)["posterior"]["w"].values
    short = line_guide.infer(some[:2], draws=40)["posterior"]["w"].values
    whole = line_guide.infer(some, draws=40)["posterior"]["w"].values
    np.testing.assert_allclose(single, short[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(short, whole[:2], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::amortppl.errors.UnreliableWarning")  # of few draws
def test_a_warm_guide_compiles_nothing(line_guide, line_data, compilations):
    assert line_guide.warm(draws=70).total.calls > 0
    compilations.clear()
    for count in (4, 11, 20):
        line_guide.infer({n: v[:count] for n, v in line_data.items()}, draws=70)
        line_guide.predict(line_data, at={"x": line_data["x"][:count]}, draws=70)
    assert compilations == []
