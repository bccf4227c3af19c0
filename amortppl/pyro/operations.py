"""Torch operations that torchax lacks or gets wrong, foremost every random one.

torchax 0.0.13 draws some random numbers with a constant key and others by a wrong formula, so all
of torch's random operations are defined here. Each takes a key and torch's arguments.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import torch
from torchax.ops import mappings
from torchax.ops.ops_registry import Operator
from torchax.tensor import Tensor
from torchax.view import View

from amortppl.errors import ModelError

Key = jax.Array

# Random numbers: f(key, shape, arguments) of an in-place operation, and with the shape of its
# tensor of a fresh one.


def normal(key: Key, shape: Any, mean: Any = 0.0, std: Any = 1.0) -> Any:
    """mean + std z."""
    return mean + std * jr.normal(key, shape)


def uniform(key: Key, shape: Any, low: Any = 0.0, high: Any = 1.0) -> Any:
    """Between low and high."""
    return low + (high - low) * jr.uniform(key, shape)


def exponential(key: Key, shape: Any, rate: Any = 1.0) -> Any:
    """With mean 1 / rate."""
    return jr.exponential(key, shape) / rate


def cauchy(key: Key, shape: Any, median: Any = 0.0, sigma: Any = 1.0) -> Any:
    """median + sigma t with one degree of freedom."""
    return median + sigma * jr.cauchy(key, shape)


def log_normal(key: Key, shape: Any, mean: Any = 1.0, std: Any = 2.0) -> Any:
    """exp(mean + std z)."""
    return jnp.exp(normal(key, shape, mean, std))


def geometric(key: Key, shape: Any, p: Any) -> Any:
    """Trials until the first success, from 1."""
    return jr.geometric(key, p, shape)


def bernoulli(key: Key, shape: Any, p: Any = 0.5) -> Any:
    """1 with probability p."""
    return jr.bernoulli(key, p, shape)


def whole(key: Key, shape: Any, *bounds: int) -> Any:
    """Whole numbers from low (0 when left out) to high - 1."""
    low, high = (0, *bounds)[-2:]
    return jr.randint(key, shape, low, high)


IN_PLACE = {
    "normal_": normal,
    "uniform_": uniform,
    "exponential_": exponential,
    "cauchy_": cauchy,
    "log_normal_": log_normal,
    "geometric_": geometric,
    "bernoulli_": bernoulli,
    "random_": whole,
}
SHAPED = {"rand": uniform, "randn": normal}
LIKE = {"rand_like": uniform, "randn_like": normal, "randint_like": whole}


def _normal_of(key: Key, mean: Any, std: Any = 1.0, size: Any = None) -> Any:
    shape = (
        tuple(size) if size is not None else jnp.broadcast_shapes(jnp.shape(mean), jnp.shape(std))
    )
    return normal(key, shape, mean, std)


def _multinomial(key: Key, weights: Any, num_samples: int, replacement: bool = False) -> Any:
    """Indices drawn by weight, (..., num_samples); without replacement the largest of log weight +
    Gumbel noise.
    """
    logits = jnp.log(weights)
    if replacement or num_samples == 1:
        drawn = jr.categorical(key, logits, shape=(num_samples, *logits.shape[:-1]))
        return jnp.moveaxis(drawn, 0, -1)
    return jax.lax.top_k(logits + jr.gumbel(key, logits.shape), num_samples)[1]


FRESH = {
    "normal": _normal_of,
    "bernoulli": lambda key, p, prob=None: bernoulli(
        key, p.shape, p if prob is None else prob
    ).astype(p.dtype),
    "poisson": lambda key, rate: jr.poisson(key, rate).astype(rate.dtype),
    "binomial": lambda key, count, prob: jr.binomial(key, count, prob).astype(prob.dtype),
    "multinomial": _multinomial,
    "_standard_gamma": lambda key, a: jr.gamma(key, a),
    "_sample_dirichlet": lambda key, a: jr.dirichlet(key, a),
    "randperm": lambda key, n: jr.permutation(key, n),
    "randint": lambda key, *bounds_and_size: whole(
        key, tuple(bounds_and_size[-1]), *bounds_and_size[:-1]
    ),
}

# Others.


def _is_all_true(x: Any) -> Any:
    return jnp.all(x)


def _copy_(x: Any, y: Any, non_blocking: bool = False, env: Any = None) -> Any:
    """x[...] = y, broadcast."""
    values = jnp.broadcast_to(env.t2j_iso(y), x.shape).astype(x.jax().dtype)
    if isinstance(x, View):
        x.update(values)
    else:
        x._elem = values
    return x


def _cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along an axis."""
    lengths = [jnp.maximum(jnp.linalg.norm(x, axis=dim), eps) for x in (x1, x2)]
    return jnp.sum(x1 * x2, dim) / (lengths[0] * lengths[1])


def _as_tensor(make: Any, data: Any, dtype: Any = None, device: Any = None, env: Any = None) -> Any:
    """A tensor as it is or of another type; anything else as torch.tensor makes it."""
    if not isinstance(data, torch.Tensor):
        return make(data, dtype=dtype)
    return data if dtype is None else data.to(dtype)


def _getitem(select: Any, x: Any, places: Any, env: Any = None) -> Any:
    """x[places], x also a tensor of torch's own; places given by tensors or lists need x itself
    where x is a view.
    """
    x = env.constant(x)
    chosen = isinstance(places, list) or any(
        isinstance(v, torch.Tensor) for v in torch.utils._pytree.tree_leaves(places)
    )
    return select(x.torch() if chosen and isinstance(x, View) else x, places)


def _new_tensor(x: Any, data: Any, dtype: Any = None, env: Any = None, **_: Any) -> Any:
    """A tensor of data with the type of x."""
    kind = x.jax().dtype if dtype is None else mappings.t2j_dtype(dtype)
    values = env.t2j_iso(data)
    traced = any(isinstance(v, jax.core.Tracer) for v in jax.tree.leaves(values))
    with (
        nullcontext() if traced else jax.ensure_compile_time_eval()
    ):  # numbers stay known under jit
        return Tensor(jnp.asarray(values, dtype=kind), env)


def install(table: dict[Any, Operator]) -> None:
    """Puts the operations of this file into an environment's table, in place of torchax's."""
    aten = torch.ops.aten
    random = {n: _in_place(f) for n, f in IN_PLACE.items()}
    random |= {n: _fresh(partial(_shaped, f)) for n, f in SHAPED.items()}
    random |= {n: _fresh(partial(_like, f)) for n, f in LIKE.items()}
    random |= {n: _fresh(f) for n, f in FRESH.items()}
    for name, function in random.items():
        _put(table, getattr(aten, name), function, jax_function=not name.endswith("_"), env=True)
    for function in (torch.rand, torch.randn, torch.randint):
        del table[function]
    for name in ("rand", "randn", "randint"):
        table[getattr(torch, name)] = table[getattr(aten, name)]
    _put(table, aten._is_all_true, _is_all_true)
    _put(table, aten.copy_, _copy_, jax_function=False, env=True, view=True)
    _put(table, torch.nn.functional.cosine_similarity, _cosine_similarity)
    _put(table, torch.ops.aten.cosine_similarity, _cosine_similarity)
    _put(table, torch.as_tensor, partial(_as_tensor, torch.tensor), jax_function=False, env=True)
    select = table[torch.Tensor.__getitem__].func
    _put(
        table,
        torch.Tensor.__getitem__,
        partial(_getitem, select),
        jax_function=False,
        env=True,
        view=True,
    )
    _put(table, torch.Tensor.new_tensor, _new_tensor, jax_function=False, env=True)


def _put(
    table: Any,
    op: Any,
    function: Any,
    jax_function: bool = True,
    env: bool = False,
    view: bool = False,
) -> None:
    """One operation, in place of every overload of it."""
    for known in [
        k for k in table if isinstance(k, torch._ops.OpOverload) and k.overloadpacket is op
    ]:
        del table[known]
    table[op] = Operator(
        op, function, jax_function, is_user_defined=True, needs_env=env, is_view_op=view
    )


_IGNORED = ("layout", "device", "pin_memory", "requires_grad", "memory_format", "out")


def _fresh(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A random operation that makes a new array."""

    def operation(
        *args: Any, env: Any, generator: Any = None, dtype: Any = None, **options: Any
    ) -> Any:
        given = {k: v for k, v in options.items() if k not in _IGNORED}
        drawn = draw(env.get_and_rotate_prng_key(generator), *args, **given)
        return drawn if dtype is None else drawn.astype(mappings.t2j_dtype(dtype))

    return operation


def _in_place(draw: Callable[..., Any]) -> Callable[..., Any]:
    """A random operation that fills a tensor."""

    def operation(x: Any, *args: Any, env: Any, generator: Any = None, **options: Any) -> Any:
        args, options = env.t2j_iso((args, options))
        return _copy_(
            x,
            Tensor(
                draw(env.get_and_rotate_prng_key(generator), tuple(x.shape), *args, **options), env
            ),
            env=env,
        )

    return operation


def _shaped(draw: Callable[..., Any], key: Key, *size: Any, **options: Any) -> Any:
    """torch.randn(2, 3), torch.randn((2, 3)) or torch.randn(size=(2, 3))."""
    size = options.pop("size", size)
    return draw(
        key, tuple(size[0]) if size and not isinstance(size[0], int) else tuple(size), **options
    )


def _like(draw: Callable[..., Any], key: Key, x: Any, *args: Any, **options: Any) -> Any:
    drawn = draw(key, x.shape, *args, **options)
    return drawn.astype(x.dtype)


def refuse(name: str) -> ModelError:
    """What to say of an operation that JAX has no counterpart for."""
    return ModelError(
        f"the torch operation {name} has no JAX counterpart: write it with other torch operations, "
        f"or compute it "
        "outside the model where it needs data alone"
    )


def failed(func: Any, error: Exception) -> ModelError:
    """What to say of an operation that JAX refused."""
    return ModelError(f"torch's {getattr(func, '__name__', func)} failed on JAX arrays: {error}")
