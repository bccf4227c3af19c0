"""Pieces of random models as source text, for both languages.

`PPL` is numpyro or pyro, `LIB` jax.numpy or torch, `POUTINE` the handlers. Inputs have fixed names:
x real, v two reals, g a group of three, m true or false, w positive, c a count.
"""

from typing import NamedTuple


class Part(NamedTuple):
    """Statements, and a term of the predictor (one number a row).

    Attributes:
        inputs: names of the inputs that it reads.
        pyro: its statements and term in Pyro where they differ; None where there is no such thing.
    """

    lines: tuple[str, ...]
    term: str
    inputs: str = ""
    pyro: tuple[tuple[str, ...], str] | None = ((), "")


PARTS = {
    # Latents that all rows share.
    "slope": Part(('b = PPL.sample("b", dist.Normal(0.0, 1.0))',), "b * x", "x"),
    "event": Part(
        ('bv = PPL.sample("bv", dist.Normal(0.0, 1.0).expand([2]).to_event(1))',), "v @ bv", "v"
    ),
    "expanded": Part(('be = PPL.sample("be", dist.Normal(0.0, 1.0).expand([2]))',), "v @ be", "v"),
    "columns": Part(
        (
            'with PPL.plate("columns", 2):',
            '    bp = PPL.sample("bp", dist.Normal(0.0, 1.0))',
        ),
        "v @ bp",
        "v",
    ),
    "groups": Part(
        (
            'tau = PPL.sample("tau", dist.HalfNormal(1.0))',
            'with PPL.plate("groups", 3):',
            '    u = PPL.sample("u", dist.Normal(0.0, tau))',
        ),
        "u[g]",
        "g",
    ),
    "non_centred": Part(
        (
            'tz = PPL.sample("tz", dist.HalfNormal(1.0))',
            'with PPL.plate("groups_z", 3):',
            '    z = PPL.sample("z", dist.Normal(0.0, 1.0))',
            'uz = PPL.deterministic("uz", tz * z)',
        ),
        "uz[g]",
        "g",
    ),
    "nested_groups": Part(
        (
            'with PPL.plate("outer", 2, dim=-2), PPL.plate("inner", 3, dim=-1):',
            '    un = PPL.sample("un", dist.Normal(0.0, 1.0))',
        ),
        "un[1, g]",
        "g",
    ),
    "simplex": Part(('p = PPL.sample("p", dist.Dirichlet(LIB.ones(3)))',), "p[g]", "g"),
    "gaussian": Part(
        (
            'mv = PPL.sample("mv", dist.MultivariateNormal(LIB.zeros(2), '
            "covariance_matrix=LIB.eye(2)))",
        ),
        "v @ mv",
        "v",
    ),
    "correlation": Part(
        ('lc = PPL.sample("lc", dist.LKJCholesky(2, 2.0))',),
        "lc.sum() * LIB.ones(n)",
    ),
    "moving_support": Part(
        (
            'lo = PPL.sample("lo", dist.Uniform(-2.0, -1.0))',
            'hi = PPL.sample("hi", dist.Uniform(lo, 1.0))',
        ),
        "hi * LIB.ones(n)",
    ),
    "transformed": Part(
        (
            'tl = PPL.sample("tl", dist.TransformedDistribution(dist.Normal(0.0, 1.0), '
            "dist.transforms.ExpTransform()))",
        ),
        "0.1 * tl * LIB.ones(n)",
    ),
    "circular": Part(
        ('cl = PPL.sample("cl", dist.VonMises(0.0, 1.0))',), "LIB.cos(cl) * LIB.ones(n)"
    ),
    "improper": Part(
        ('im = PPL.sample("im", dist.ImproperUniform(dist.constraints.real, (), ()))',),
        "0.1 * im * LIB.ones(n)",
    ),
    "chain": Part(
        (
            "def walk(level, _):",
            '    level = numpyro.sample("chain", dist.Normal(level, 0.5))',
            "    return level, level",
            "chain = scan(walk, 0.0, None, length=4)[1]",
        ),
        "chain[-1] * LIB.ones(n)",
        pyro=(
            (
                "level = 0.0",
                "for t in pyro.markov(range(3)):",
                '    level = pyro.sample(f"chain_{t}", dist.Normal(level, 0.5))',
            ),
            "level * LIB.ones(n)",
        ),
    ),
    "loop": Part(
        ("steps = [PPL.sample(f'l_{i}', dist.Normal(0.0, 1.0)) for i in range(3)]",),
        "LIB.stack(steps)[g]",
        "g",
    ),
    # Latents of each row.
    "local": Part(
        (
            'te = PPL.sample("te", dist.HalfNormal(1.0))',
            "with rows:",
            '    e = PPL.sample("e", dist.Normal(0.0, te))',
        ),
        "e",
    ),
    "local_gamma": Part(
        (
            "with rows:",
            '    f = PPL.sample("f", dist.Gamma(2.0, 2.0))',
        ),
        "LIB.log(f)",
    ),
    "local_bare": Part(('eb = PPL.sample("eb", dist.Normal(0.0, 1.0).expand([n]))',), "eb"),
    "local_event": Part(
        ('ee = PPL.sample("ee", dist.Normal(0.0, 1.0).expand([n]).to_event(1))',), "ee"
    ),
    "random_walk": Part(
        ('rw = PPL.sample("rw", dist.GaussianRandomWalk(0.3, num_steps=n))',), "rw", pyro=None
    ),
    "row_loop": Part(
        ("each = [PPL.sample(f'r_{i}', dist.Normal(0.0, 1.0)) for i in range(n)]",),
        "LIB.stack(each)",
    ),
    "half_as_many": Part(
        ('hm = PPL.sample("hm", dist.Normal(0.0, 1.0).expand([n // 2]))',),
        "hm.mean() * LIB.ones(n)",
    ),
    # Discrete latents.
    "label": Part(
        (
            "with rows:",
            '    k = PPL.sample("k", dist.Categorical(probs=ARRAY([0.4, 0.6])), '
            'infer={"enumerate": "parallel"})',
        ),
        "ARRAY([-1.0, 1.0])[k]",
    ),
    "switch": Part(
        ('q = PPL.sample("q", dist.Bernoulli(0.3), infer={"enumerate": "parallel"})',),
        "1.5 * q * LIB.ones(n)",
    ),
    "discrete": Part(('dl = PPL.sample("dl", dist.Poisson(2.0))',), "0.1 * dl * LIB.ones(n)"),
    # Terms without latents.
    "closure": Part((), "TABLE[g]", "g"),
    "offset": Part((), "LIB.log(w)", "w"),
    "switched": Part((), "LIB.where(m, 0.5, -0.5)", "m"),
    "count": Part((), "0.1 * c", "c"),
    "nonlinear": Part((), "LIB.tanh(a * x)", "x"),
    "branches": Part((), "LIB.where(x > 0, a * x, 0.3 * x)", "x"),
    "position": Part((), "LIB.arange(n) / 10.0"),
    "number_of_rows": Part((), "LIB.ones(n) * (n / 10.0)"),
    "long_closure": Part((), "LONG[:n]"),
    "centred": Part((), "x - x.mean()", "x"),
    "standardized": Part((), "(x - x.mean()) / (x.std() + 0.1)", "x"),
    "maximum": Part((), "x / LIB.abs(x).max()", "x"),
    "cumulated": Part((), "0.3 * LIB.cumsum(x, 0)", "x"),
    "sorted": Part((), "SORT(x)", "x"),
    "flipped": Part((), "LIB.flip(x, (0,))", "x"),
    "lagged": Part((), "LIB.roll(x, 1)", "x"),
    "first": Part((), "x - x[0]", "x"),
    "softmax": Part((), "SOFTMAX(x, 0)", "x"),
    "group_means": Part((), "(ONE_HOT(g, 3) * x[:, None]).sum(0)[g]", "xg"),
    "tiny_coupling": Part((), "x + 1e-3 * x.mean()", "x"),
    "gated_coupling": Part((), "x * (1.0 + 0.5 * (x.max() > 2.0))", "x"),
    "from_y": Part((), "LIB.ones(n) * (0.0 if y is None else 0.2 * y.sum() / n)"),
    "python_branch": Part((), "(x if float(a) > 0 else -x)", "x"),
    "input_branch": Part((), "(x if bool(x[0] > 0) else -x)", "x"),
    "noise": Part(
        ("noise = jax.random.normal(numpyro.prng_key(), (n,))",),
        "0.5 * noise",
        pyro=(("noise = torch.randn(n)",), "0.5 * noise"),
    ),
    "numpy_noise": Part((), "ARRAY(np.random.randn(n).astype(np.float32))"),
    "scan_rows": Part((), "scan(lambda c, xi: (0.5 * c + xi, 0.5 * c + xi), 0.0, x)[1]", "x", None),
    "inverse_index": Part((), "TABLE[g - 1]", "g"),
    "beyond_index": Part((), "TABLE[g + 1]", "g"),
    "wide_closure": Part((), "x * WIDE[0, 0]", "x"),
}

EXTRAS = {
    "deterministic": Part(('PPL.deterministic("double", 2.0 * a)',), ""),
    "row_deterministic": Part(('PPL.deterministic("mean", eta)',), ""),
    "data_deterministic": Part(('PPL.deterministic("size", eta.sum() * 0.0 + n)',), ""),
    "constant_factor": Part(('PPL.factor("constant", ARRAY(0.3))',), ""),
    "latent_factor": Part(('PPL.factor("push", -0.5 * a**2)',), ""),
    "data_factor": Part(('PPL.factor("data", -x.sum())',), "", "x"),
    "row_factor": Part(('PPL.factor("each", -0.1 * (eta - a) ** 2)',), ""),
    "fixed_observation": Part(('PPL.sample("h", dist.Normal(a, 1.0), obs=ARRAY(0.5))',), ""),
    "independent_observation": Part(
        ('PPL.sample("h0", dist.Normal(0.0, 1.0), obs=ARRAY(0.5))',), ""
    ),
    "unused": Part(('PPL.sample("spare", dist.Normal(0.0, 1.0))',), ""),
    "only_simulated": Part(("if y is None:", '    PPL.sample("aux", dist.Normal(0.0, 1.0))'), ""),
    "only_simulated_used": Part(
        ("if y is None:", '    eta = eta + PPL.sample("shift", dist.Normal(0.0, 1.0))'), ""
    ),
    "only_given": Part(
        ("if y is not None:", '    eta = eta + PPL.sample("late", dist.Normal(0.0, 1.0))'), ""
    ),
    "only_given_unused": Part(
        ("if y is not None:", '    PPL.sample("idle", dist.Normal(0.0, 1.0))'), ""
    ),
    "only_given_factor": Part(
        ("if y is not None:", '    PPL.factor("late_push", -0.5 * a**2)'), ""
    ),
    "only_given_predictor": Part(("if y is not None:", "    eta = 0.5 * eta"), ""),
    "parameter": Part(('eta = eta + PPL.param("par", ARRAY(0.4))',), ""),
    "returned": Part(("RETURN eta",), ""),
    "renamed_twice": Part(('PPL.sample("a", dist.Normal(0.0, 1.0))',), ""),
    "print": Part(('assert eta.shape == (n,), "predictor"',), ""),
    "stopped": Part(("eta = jax.lax.stop_gradient(eta)",), "", pyro=(("eta = eta.detach()",), "")),
    "half": Part(("eta = eta.astype(jnp.float16).astype(jnp.float32)",), "", pyro=None),
}
"""Statements between the predictor and the observed sites."""

OUTER = {
    "reparam": ("POUTINE.reparam(model, config={'u': REPARAM(0.0)})", ""),
    "reparam_intercept": ("POUTINE.reparam(model, config={'a': REPARAM(0.0)})", ""),
    "condition": ("POUTINE.condition(model, data={'a': ARRAY(0.3)})", ""),
    "do": ("POUTINE.do(model, data={'a': ARRAY(0.3)})", ""),
    "block": ("POUTINE.block(model, hide=['a'])", ""),
    "scale": ("POUTINE.scale(model, scale=0.5)", ""),
    "mask_all": ("POUTINE.mask(model, mask=False)", ""),
    "substitute": ("numpyro.handlers.substitute(model, data={'a': ARRAY(0.3)})", None),
    "seed": ("numpyro.handlers.seed(model, 0)", None),
    "scope": ("numpyro.handlers.scope(model, 'deep')", None),
    "trace": ("POUTINE.trace(model)", ""),
    "decorator": (
        "numpyro.handlers.scale(scale=1.0)(model)",
        "pyro.poutine.scale(scale=1.0)(model)",
    ),
    "infer_config": (
        "numpyro.handlers.infer_config(model, config_fn=lambda site: {})",
        "pyro.poutine.infer_config(model, config_fn=lambda site: {})",
    ),
    "partial": ("functools.partial(model)", ""),
}
"""Handlers around the model in NumPyro and Pyro ("" for the same text)."""
