"""A dataset of moderate size for each hierarchical model of models/, and the model's program."""

import inspect
from importlib import import_module

import numpy as np


def logistic(groups, rows=400):
    """Successes, 20 rows a group or ten, of unequal numbers."""
    random = np.random.default_rng(groups)
    share = random.gamma(3.0, size=groups)
    group = np.sort(random.choice(groups, rows, p=share / share.sum()))
    group[:groups] = np.arange(groups)
    x, effect = random.normal(size=rows), random.normal(0.3, 0.8, groups)
    odds = effect[group] + 0.5 * x
    return {"x": x, "group": group, "y": random.binomial(1, 1 / (1 + np.exp(-odds)))}


def sleep_study():
    """18 subjects over ten days."""
    random = np.random.default_rng(18)
    subject, day = np.repeat(np.arange(18), 10), np.tile(np.linspace(-1.57, 1.57, 10), 18)
    factor = np.diag([0.5, 0.25]) @ np.linalg.cholesky([[1, 0.2], [0.2, 1]])
    effect = [0.1, 0.5] + random.normal(size=(18, 2)) @ factor.T
    mean = effect[subject, 0] + effect[subject, 1] * day
    return {"day": day, "subject": subject, "y": mean + 0.45 * random.normal(size=180)}


def radon():
    """85 counties, one house or many."""
    random = np.random.default_rng(85)
    share = random.gamma(0.8, size=85)
    county = random.choice(85, 900, p=share / share.sum())
    county[:85] = np.arange(85)
    floor, uranium = random.binomial(1, 0.2, 900), random.normal(size=85)
    intercept = 0.3 + 0.4 * uranium + 0.3 * random.normal(size=85)
    slope = -0.6 + 0.3 * random.normal(size=85)
    y = intercept[county] + slope[county] * floor + 0.75 * random.normal(size=900)
    return {"floor": floor, "uranium": uranium, "county": county, "y": y}


def slopes():
    """12 groups, program and data of `test_compile`."""
    from benchmarks.test_compile import SLOPES

    space = {}
    exec(SLOPES, space)
    return space["model"], space["data"]


def item_response():
    """100 persons answer each of 8 items."""
    random = np.random.default_rng(100)
    person, item = np.repeat(np.arange(100), 8), np.tile(np.arange(8), 100)
    difficulty, discrimination = random.normal(size=8), np.exp(0.5 * random.normal(size=8))
    odds = discrimination[item] * (random.normal(size=100)[person] - difficulty[item])
    y = random.binomial(1, 1 / (1 + np.exp(-odds)))
    return {"item": item, "person": person, "y": y}


def meta_analysis():
    """30 studies of one to three estimates."""
    random = np.random.default_rng(30)
    study = np.repeat(np.arange(30), random.integers(1, 4, 30))
    error = np.exp(-1.2 + 0.5 * random.normal(size=len(study)))
    effect = random.normal(0.3, 0.25, 30)
    return {"error": error, "study": study, "y": effect[study] + error * random.normal(size=len(study))}  # fmt: skip


def overdispersed_poisson():
    """200 counts, each with an effect."""
    random = np.random.default_rng(200)
    x = random.normal(size=(200, 3))
    rate = np.exp(0.8 + x @ [0.4, -0.3, 0.0] + 0.6 * random.normal(size=200))
    return {"x": x, "y": random.poisson(rate)}


def grouped_counts():
    """40 regions of 1 to 16 counts, with exposures."""
    random = np.random.default_rng(40)
    region = np.repeat(np.arange(40), random.integers(1, 17, 40))
    x, exposure = random.normal(size=len(region)), random.uniform(0.5, 5, len(region))
    effect = random.normal(-0.5, 0.5, 40)
    rate = exposure * np.exp(effect[region] + 0.3 * x)
    return {"x": x, "exposure": exposure, "region": region, "y": random.poisson(rate)}


def panel():
    """50 firms over three to five years."""
    random = np.random.default_rng(50)
    year, firm = np.tile(np.arange(5), 50), np.repeat(np.arange(50), 5)
    seen = random.random(250) < 0.8
    year, firm = year[seen], firm[seen]
    firm = np.unique(firm, return_inverse=True)[1]
    x, n = random.normal(size=len(firm)), firm.max() + 1
    mean = random.normal(0.5, 0.6, n)[firm] + random.normal(0, 0.4, 5)[year] + 0.4 * x
    return {"x": x, "year": year, "firm": firm, "y": mean + 0.7 * random.normal(size=len(firm))}


DATA = {
    f.__name__: f
    for f in (sleep_study, radon, item_response, meta_analysis, overdispersed_poisson,
              grouped_counts, panel)
}  # fmt: skip
NAMES = ("logistic20", "logistic40", "slopes", *DATA)


def case(name):
    """The program and its data."""
    if name == "slopes":
        return slopes()
    if name.startswith("logistic"):
        module, data = "hierarchical_logistic", logistic(int(name.removeprefix("logistic")))
    else:
        module, data = name, DATA[name]()
    return import_module(f"models.{module}").model, data


def numbers_of_groups(model, data):
    """`n_NAME` for each index of groups among the model's arguments."""
    asked = [n.removeprefix("n_") for n in inspect.signature(model).parameters if n[:2] == "n_"]
    return {f"n_{n}": int(data[n].max()) + 1 for n in asked if f"n_{n}" not in data}
