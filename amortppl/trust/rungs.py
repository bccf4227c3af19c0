"""The rungs above the first: each takes a climb and the places of some datasets of one shape, and answers for each."""

from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array

from amortppl.compute import mapped, padded
from amortppl.method import Method, final
from amortppl.task import Batch, Task
from amortppl.trust import psis
from amortppl.trust.ladder import TOGETHER, Attempt, raw

if TYPE_CHECKING:
    from amortppl.trust.ladder import _Climb

POOL, ROUNDS, FREEDOM = 4, 5, 5.0
"""Importance draws for each draw wanted, rounds of adaptation, and degrees of freedom of the proposal."""

STEPS, PARTICLES, RATE = 150, 32, 0.02
"""Updates of SVI, draws for each, and the rate of Adam."""

CHAINS, WARMUP, LONG = 4, 100, 600
"""Chains of NUTS, and its warm-up with the mass matrix it was given; then once more, adapting it."""

Draws = tuple[np.ndarray, np.ndarray, np.ndarray]


def refined(run: "_Climb", places: list[int]) -> list[Attempt]:
    """More steps of the method's own refinement."""
    batch, keys = _together(run, places, 1)
    found = _refined(run.guide.method, batch, keys, run.draws)
    return [raw(each, run.ladder) for each in _each(found, places)]


def resampled(run: "_Climb", places: list[int]) -> list[Attempt]:
    """Adaptive importance sampling: Student proposals with the moments of the weighted draws, round by round.

    Cappé, Guillin, Marin and Robert 2004 (population Monte Carlo); Paananen, Piironen, Bürkner and Vehtari 2021,
    "Implicitly adaptive importance sampling", for why moments are matched.
    """
    batch, keys = _together(run, places, 2)
    best = [(a.vectors, a.log_weights) for a in (run.best[i] for i in places)]
    answers: list[Attempt | None] = [None] * len(places)
    for number in range(ROUNDS):
        moments = [_moments(*b) for b in best]
        centre, factor = (_padded([m[k] for m in moments]) for k in range(2))
        pool = max(POOL * run.draws, 1000)
        found = _student(run.guide.method, batch, _folded(keys, number), centre, factor, pool)
        for place, each in enumerate(_each(found, places)):
            before = answers[place]
            if before is None or before.failed:
                answers[place] = _resampled(run, each, run.seed + number)
                weights = psis.check(each[2][None], each[1][None]).log_weights[0]
                best[place] = (np.asarray(each[0], np.float64), weights)
        if all(a is not None and not a.failed for a in answers):
            break
    return [a for a in answers if a is not None]


def varied(run: "_Climb", places: list[int]) -> list[Attempt]:
    """A few steps of stochastic variational inference on the guide's readout, then importance resampling."""
    batch, keys = _together(run, places, 3)
    found = _varied(run.guide.method, batch, keys, POOL * run.draws)
    return [_resampled(run, each, run.seed) for each in _each(found, places)]


def sampled(run: "_Climb", places: list[int]) -> list[Attempt]:
    """NUTS from the best draws, their covariance as mass matrix; with a longer warm-up where chains disagree."""
    answers = _sampled(run, places, WARMUP, False)
    again = [i for i, a in enumerate(answers) if a.failed]
    if again:
        for i, answer in zip(again, _sampled(run, [places[i] for i in again], LONG, True), strict=True):
            answers[i] = answer
    return answers


def _sampled(run: "_Climb", places: list[int], warmup: int, adapt: bool) -> list[Attempt]:
    batch, keys = _together(run, places, 5 if adapt else 4)
    starts, covariances = [], []
    for place in places:
        best, rng = run.best[place], np.random.default_rng(run.seed + place)
        starts.append(best.vectors[rng.choice(len(best.vectors), CHAINS, p=_probabilities(best.log_weights))])
        factor = _moments(best.vectors, best.log_weights)[1]
        covariances.append(factor @ factor.T)
    length = -(-run.draws // CHAINS)
    given = (_padded(starts), _padded(covariances))
    found = _nuts(run.guide.method.task, batch, keys, *given, warmup, max(length, 250), adapt)
    return [_converged(run, *each) for each in _each(found, places)]


def _converged(run: "_Climb", chains: np.ndarray, heights: np.ndarray) -> Attempt:
    """R-hat and effective sample size of chains (C, L, P); evenly thinned to the draws wanted."""
    from arviz_stats.base import array_stats

    chains, ladder = np.asarray(chains, np.float64), run.ladder
    each = [chains[:, :, i] for i in range(chains.shape[2])]
    rhat = max(float(array_stats.rhat(c)) for c in each)
    kinds = ({"method": "bulk"}, {"method": "tail", "prob": (0.05, 0.95)})
    size = min(float(array_stats.ess(c, **kind)) for c in each for kind in kinds)
    kept = np.linspace(0, chains.shape[0] * chains.shape[1] - 1, run.draws).astype(int)
    failed = "" if rhat <= ladder.rhat else f"R-hat {rhat:.3f}"
    failed = failed or ("" if size >= ladder.ess else f"effective sample size {size:.0f}")
    vectors, nothing = chains.reshape(-1, chains.shape[2])[kept], np.full(run.draws, np.nan)
    level = np.full(run.draws, -np.log(run.draws))
    return Attempt(vectors, nothing, heights.reshape(-1)[kept], level, np.nan, size, rhat, failed)


def _resampled(run: "_Climb", draws: Draws, seed: int) -> Attempt:
    """S of a larger number of importance draws, with probabilities as their smoothed weights (systematic)."""
    vectors, log_guide, log_joint = (np.asarray(a, np.float64) for a in draws)
    found = psis.check(log_joint[None], log_guide[None])
    khat, size = float(found.khat[0]), float(found.sample_size[0])
    failed = "" if khat < run.ladder.khat else f"k-hat {khat:.2f}"
    failed = failed or ("" if size >= run.ladder.ess else f"importance sample size {size:.0f}")
    rng = np.random.default_rng(seed)
    steps = np.cumsum(_probabilities(found.log_weights[0]))
    kept = np.searchsorted(steps, (np.arange(run.draws) + rng.uniform()) / run.draws).clip(max=len(vectors) - 1)
    rng.shuffle(kept)
    level = np.full(run.draws, -np.log(run.draws))
    return Attempt(vectors[kept], log_guide[kept], log_joint[kept], level, khat, size, np.nan, failed)


def _probabilities(log_weights: np.ndarray) -> np.ndarray:
    weights = np.exp(log_weights - np.max(log_weights))
    return weights / weights.sum()


def _moments(vectors: np.ndarray, log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and a Cholesky factor of the covariance; with few effective draws, nearer that of all draws."""
    weights = _probabilities(log_weights)
    size, count = 1 / np.sum(weights**2), vectors.shape[1]
    centre = weights @ vectors
    apart, about = vectors - centre, vectors - vectors.mean(0)
    share = min(1.0, size / (10.0 * count))
    covariance = share * (apart * weights[:, None]).T @ apart + (1 - share) * about.T @ about / len(vectors)
    scale = np.sqrt(np.diag(covariance)) + 1e-9
    values, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
    return centre, np.linalg.cholesky((axes * np.maximum(values, 1e-6)) @ axes.T) * scale[:, None]


# Compiled calls, always of one dataset or of `TOGETHER`.


def _together(run: "_Climb", places: list[int], rung: int) -> tuple[Batch, Array]:
    batches = [padded(run.guide.task, run.datasets[i]) for i in places]
    keys = jax.vmap(lambda i: jr.fold_in(jr.fold_in(jr.key(run.seed), 100 + rung), i))(jnp.array(_filled(places)))
    return jax.tree.map(lambda *a: np.stack(a), *_filled(batches)), keys


def _filled(items: list[Any]) -> list[Any]:
    return items if len(items) == 1 else items + [items[0]] * (TOGETHER - len(items))


def _padded(arrays: list[np.ndarray]) -> Array:
    return jnp.asarray(np.stack(_filled(arrays)), jnp.float32)


def _folded(keys: Array, number: int) -> Array:
    return jax.vmap(lambda k: jr.fold_in(k, number))(keys)


def _each(found: Any, places: list[int]) -> list[Any]:
    arrays = [np.asarray(a) for a in found]
    return [tuple(a[i] for a in arrays) for i in range(len(places))]


@eqx.filter_jit
def _refined(method: Method, batches: Batch, keys: Array, draws: int) -> Draws:
    return jax.vmap(lambda b, k: _drawn(method.task, method.refined(b), b, k, draws))(batches, keys)


def _drawn(task: Task, posterior: Any, batch: Batch, key: Array, draws: int) -> Draws:
    vectors, log_guide = posterior.sample(key, draws)
    return vectors, log_guide, mapped(lambda v: task.log_joint(v, batch), vectors, 256)


@eqx.filter_jit
def _student(method: Method, batches: Batch, keys: Array, centres: Array, factors: Array, draws: int) -> Draws:
    """Draws of a multivariate Student distribution, its log density, and the log joint."""

    def one(batch: Batch, key: Array, centre: Array, factor: Array) -> Draws:
        size = len(centre)
        z = jr.normal(jr.fold_in(key, 0), (draws, size))
        chi = 2.0 * jr.gamma(jr.fold_in(key, 1), FREEDOM / 2, (draws, 1)) / FREEDOM
        u = z / jnp.sqrt(chi)
        norm = jax.scipy.special.gammaln((FREEDOM + size) / 2) - jax.scipy.special.gammaln(FREEDOM / 2)
        norm = norm - 0.5 * size * jnp.log(FREEDOM * jnp.pi) - jnp.sum(jnp.log(jnp.abs(jnp.diag(factor))))
        log_guide = norm - 0.5 * (FREEDOM + size) * jnp.log1p(jnp.sum(u**2, 1) / FREEDOM)
        vectors = centre + u @ factor.T
        joint = mapped(lambda v: method.task.log_joint(v, batch), vectors, 256)
        return vectors, log_guide, joint

    return jax.vmap(one)(batches, keys, centres, factors)


@eqx.filter_jit
def _varied(method: Method, batches: Batch, keys: Array, draws: int) -> Draws:
    """Maximises E_q [log p(theta, D) - log q(theta)] over the readout's own numbers."""

    def one(batch: Batch, key: Array) -> Draws:
        learned, rest = eqx.partition(method.readout(final(method, batch)), eqx.is_inexact_array)
        optimiser = optax.chain(optax.zero_nans(), optax.clip_by_global_norm(10.0), optax.adam(RATE))

        def loss(learned: Any, key: Array) -> Array:
            posterior = eqx.combine(learned, rest)
            vectors, log_guide = posterior.sample(key, PARTICLES)
            joint = jax.vmap(lambda v: method.task.log_joint(v, batch))(vectors)
            return jnp.mean(log_guide - joint)

        def update(carry: Any, key: Array) -> tuple[Any, None]:
            learned, memory = carry
            change, memory = optimiser.update(jax.grad(loss)(learned, key), memory)
            return (optax.apply_updates(learned, change), memory), None

        begin = (learned, optimiser.init(learned))
        learned = jax.lax.scan(update, begin, jr.split(jr.fold_in(key, 0), STEPS))[0][0]
        return _drawn(method.task, eqx.combine(learned, rest), batch, jr.fold_in(key, 1), draws)

    return jax.vmap(one)(batches, keys)


@eqx.filter_jit
def _nuts(
    task: Task, batches: Batch, keys: Array, starts: Array, covariances: Array, warmup: int, length: int, adapt: bool
) -> tuple[Array, Array]:
    """Chains (T, C, L, P) and the log joint along them (T, C, L)."""
    from numpyro.infer import NUTS

    def one(batch: Batch, key: Array, start: Array, covariance: Array) -> tuple[Array, Array]:
        def chain(key: Array, start: Array) -> tuple[Array, Array]:
            kernel = NUTS(
                potential_fn=lambda v: -task.log_joint(v, batch), dense_mass=True, inverse_mass_matrix=covariance,
                adapt_mass_matrix=adapt, target_accept_prob=0.9 if adapt else 0.8,
            )  # fmt: skip
            state = kernel.init(key, warmup, start, model_args=(), model_kwargs={})
            step = lambda s, _: (kernel.sample(s, (), {}), None)  # noqa: E731
            state = jax.lax.scan(step, state, length=warmup)[0]

            def kept(state: Any, _: None) -> tuple[Any, tuple[Array, Array]]:
                after = kernel.sample(state, (), {})
                return after, (after.z, -after.potential_energy)

            return jax.lax.scan(kept, state, length=length)[1]

        return jax.vmap(chain)(jr.split(key, CHAINS), start)

    return jax.vmap(one)(batches, keys, starts, covariances)


CLIMB = {"refined": refined, "psis": resampled, "svi": varied, "nuts": sampled}
"""What each rung does."""
