"""The source text of a random model, and the functions that it defines."""

import linecache
from hashlib import sha256
from types import ModuleType

from random_models.description import Observation, RandomModel
from random_models.families import COUNTS, FAMILIES, NUMPYRO, PRIORS, PYRO, VECTORS
from random_models.parts import EXTRAS, OUTER, PARTS

TOKENS = {
    "numpyro": {
        "PPL.": "numpyro.",
        "LIB.": "jnp.",
        "POUTINE.": "numpyro.handlers.",
        "ARRAY(": "jnp.array(",
        "SIGMOID(": "jax.nn.sigmoid(",
        "SORT(": "jnp.sort(",
        "SOFTMAX(": "jax.nn.softmax(",
        "ONE_HOT(": "jax.nn.one_hot(",
        "REPARAM(": "LocScaleReparam(",
    },
    "pyro": {
        "PPL.": "pyro.",
        "LIB.": "torch.",
        "POUTINE.": "pyro.poutine.",
        "ARRAY(": "torch.tensor(",
        "SIGMOID(": "torch.sigmoid(",
        "SORT(": "torch.msort(",
        "SOFTMAX(": "torch.softmax(",
        "ONE_HOT(": "torch.nn.functional.one_hot(",
        "REPARAM(": "LocScaleReparam(",
    },
}
HEAD = {
    "numpyro": """import functools
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan
from numpyro.infer.reparam import LocScaleReparam

TABLE = jnp.array([0.5, -0.2, 0.9])
LONG = jnp.linspace(-1.0, 1.0, 64)
WIDE = np.ones((2, 2), np.float32)
""",
    "pyro": """import functools
import numpy as np
import numpyro
import pyro
import pyro.distributions as dist
import torch
from pyro.infer.reparam import LocScaleReparam

TABLE = torch.tensor([0.5, -0.2, 0.9])
LONG = torch.linspace(-1.0, 1.0, 64)
WIDE = np.ones((2, 2), np.float32)
""",
}
SOURCES = {
    "x": ("Normal(0.0, 1.0)", "normal(key, (n,))", "rng.standard_normal(40)"),
    "v": ("Normal(0.0, 1.0).expand([2])", "normal(key, (n, 2))", "rng.standard_normal((40, 2))"),
    "g": ("DiscreteUniform(0, 2)", "randint(key, (n,), 0, 3)", "rng.integers(0, 3, 40)"),
    "m": ("Bernoulli(0.7)", "bernoulli(key, 0.7, (n,))", "rng.random(40) < 0.7"),
    "w": ("Gamma(4.0, 4.0)", "uniform(key, (n,), minval=0.5)", "rng.random(40) + 0.5"),
    "c": ("Poisson(3.0)", "poisson(key, 3.0, (n,))", "rng.poisson(3.0, 40)"),
}
"""What describes an input: a distribution, a callable, a table."""

FRAMES = {
    "plate": ("with rows:",),
    "other_plate": ('with PPL.plate("again", n):',),
    "bare": (),
    "event": (),
    "block_dim": ('with PPL.plate("table", n, dim=-2):',),
    "nested": ('with PPL.plate("table", n, dim=-2), PPL.plate("cols", 3, dim=-1):',),
    "rows_last": ('with PPL.plate("cols", 3, dim=-2), rows:',),
    "named_like_input": ('with PPL.plate("x", n):',),
    "named_like_observation": ('with PPL.plate("y", n):',),
    "subsample_all": ('with PPL.plate("part", n, subsample_size=n):',),
    "subsample": ('with PPL.plate("part", n, subsample_size=3) as chosen:',),
    "too_large": ('with PPL.plate("twice", 2 * n):',),
    "wide": (),
    "tied": (),
}
MASKS = {
    "none": "",
    "handler": "with POUTINE.mask(mask={m} > 0):",
    "input_sign": "with POUTINE.mask(mask=x > -0.5):",
    "false": "with POUTINE.mask(mask=False):",
    "distribution": ".mask({m} > 0)",
    "obs_mask": "obs_mask={m} > 0",
    "first_rows": "with POUTINE.mask(mask=LIB.arange(n) < 3):",
    "of_y": "with POUTINE.mask(mask=True if y is None else y > -1.0):",
}
SCALES = {
    "none": "",
    "half": "with POUTINE.scale(scale=0.5):",
    "by_row": "with POUTINE.scale(scale=w):",
    "by_size": "with POUTINE.scale(scale=10.0 / n):",
    "one": "with POUTINE.scale(scale=1.0):",
}
FEEDS = {
    "direct": "{y}",
    "doubled": "None if {y} is None else 2.0 * {y}",
    "floats": "None if {y} is None else {y} * 1.0",
    "reversed": "None if {y} is None else LIB.flip({y}, (0,))",
    "clipped": "None if {y} is None else LIB.clip({y}, -1.0, 1.0)",
    "filled": "None if {y} is None else LIB.nan_to_num({y})",
    "condition": "{y}",
}


def inputs_of(described: RandomModel) -> list[str]:
    """Names of the inputs that a model reads, in order."""
    used = "".join(PARTS[p].inputs for p in described.parts)
    used += "".join(EXTRAS[e].inputs for e in described.extras)
    for each in described.observations:
        used += "m" if each.mask in ("handler", "distribution", "obs_mask") else ""
        used += "x" if each.mask == "input_sign" or each.family == "left_censored" else ""
        used += "x" if each.frame in ("named_like_input", "tied") else ""
        used += "w" if each.scale == "by_row" else ""
    return [n for n in SOURCES if n in used]


def render(described: RandomModel) -> str:
    """A module with `model` and `task()`, the arguments of its task."""
    inputs = inputs_of(described)
    text = (
        f"{HEAD[described.language]}\n\n{_model(described, inputs)}\n\n{_task(described, inputs)}"
    )
    for token, meaning in TOKENS[described.language].items():
        text = text.replace(token, meaning)
    return text


def build(described: RandomModel) -> ModuleType:
    """The module, whose source `inspect` finds too."""
    text = render(described)
    name = f"random_model_{sha256(text.encode()).hexdigest()[:12]}"
    linecache.cache[f"{name}.py"] = (len(text), None, text.splitlines(True), f"{name}.py")
    module = ModuleType(name)
    exec(compile(text, f"{name}.py", "exec"), module.__dict__)
    return module


def _model(described: RandomModel, inputs: list[str]) -> str:
    arguments = inputs or ["n"]
    fed = [f"{o.argument}=None" for o in described.observations if o.feed != "condition"]
    lines = [f"def model({', '.join([*arguments, *fed])}):"]
    body = [f"n = {inputs[0]}.shape[0]"] if inputs else []
    body += ['rows = PPL.plate("rows", n)']
    body += [f'a = PPL.sample("a", {PRIORS[described.prior]})']
    if described.spread:
        body += [f's = PPL.sample("s", {PRIORS[described.spread]})']
    terms = ["a * LIB.ones(n)"]
    for name in described.parts:
        more, term = _statements(PARTS[name], described.language)
        body += more
        terms += [term]
    body += [f"eta = {' + '.join(terms)}"]
    for name in described.extras:
        body += [t for t in _statements(EXTRAS[name], described.language)[0] if "RETURN" not in t]
    for each in described.observations:
        body += _observed(described, each)
    if "returned" in described.extras:
        body += ["return eta"]
    text = "\n".join(lines + [f"    {t}" for t in body]) + "\n"
    for name in described.outer:
        numpyro, pyro = OUTER[name]
        text += f"\nmodel = {numpyro if described.language == 'numpyro' or not pyro else pyro}\n"
    return text


def _statements(part: object, language: str) -> tuple[list[str], str]:
    if language == "pyro" and part.pyro and (part.pyro[0] or part.pyro[1]):
        return list(part.pyro[0]), part.pyro[1]
    return list(part.lines), part.term


def _observed(described: RandomModel, each: Observation) -> list[str]:
    eta, own = {
        "nested": ("eta[:, None]", ""),
        "block_dim": ("eta[:, None]", ""),
        "subsample": ("eta[chosen]", ""),
    }.get(each.frame, ("eta", ""))
    family = FAMILIES[each.family]
    if described.language == "pyro":
        family = PYRO.get(each.family, family)
    fn = family.format(eta=eta, s="s" if described.spread else "0.7")
    if each.frame == "tied":
        fn = (
            "dist.MultivariateNormal(eta, covariance_matrix=LIB.exp(-(x[:, None] - x[None]) ** 2) "
            "+ 0.3 * LIB.eye(n))"
        )
    if each.frame in ("event", "wide"):
        own = ".to_event(1)" if each.frame == "event" else ".expand([4, n])"
    mask = MASKS[each.mask].format(m="m")
    own += mask if mask.startswith(".") else ""
    feed = FEEDS[each.feed].format(y=each.argument)
    if each.frame == "subsample" and each.feed == "direct":
        feed = f"None if {each.argument} is None else {each.argument}[chosen]"
    feed = "" if each.feed == "condition" else f", obs={feed}"
    feed += f", {mask}" if mask.startswith("obs_mask") else ""
    around = [*FRAMES[each.frame]]
    around += [mask] if mask.startswith("with") else []
    around += [SCALES[each.scale]] if SCALES[each.scale] else []
    site = f'PPL.sample("{each.site}", {fn}{own}{feed})'
    return [f"{'    ' * i}{t}" for i, t in enumerate([*around, site])]


def _task(described: RandomModel, inputs: list[str]) -> str:
    kind = {"distribution": 0, "callable": 1, "table": 2}[described.sources]
    texts = []
    for name in inputs:
        text = SOURCES[name][kind]
        text = (f"numpyro.distributions.{text}", f"lambda key, n: jax.random.{text}", text)[kind]
        text = f"({text}).astype('f')" if kind == 2 and name in "xvw" else text
        texts += [f'        "{name}": {text},']
    rows = {"range": "(4, 16)", "fixed": "6", "block": "None"}[described.rows]
    if described.rows == "block":
        texts = [f'        "{n}": BLOCK["{n}"],' for n in inputs]
    named = [o.site for o in described.observations if o.feed == "condition"]
    lines = ["def task():", "    import jax", "    rng = np.random.default_rng(0)"]
    lines += ["    BLOCK = {"] if described.rows == "block" else []
    if described.rows == "block":
        lines += [f'        "{n}": ({SOURCES[n][2]})[:6],' for n in inputs] + ["    }"]
    lines += ["    inputs = {", *texts, "    }"]
    lines += [f"    return dict(inputs=inputs, rows={rows}, observed={named})"]
    return "\n".join(lines) + "\n"


def is_written(described: RandomModel) -> bool:
    """Whether the language has all of a model's pieces."""
    if described.language == "numpyro":
        return not any(o.family in NUMPYRO for o in described.observations)
    pieces = [PARTS[p] for p in described.parts] + [EXTRAS[e] for e in described.extras]
    families = [PYRO.get(o.family, "there") for o in described.observations]
    handlers = [OUTER[o][1] for o in described.outer]
    return None not in (*(p.pyro for p in pieces), *handlers) and "" not in families


__all__ = ["COUNTS", "VECTORS", "build", "inputs_of", "is_written", "render"]
