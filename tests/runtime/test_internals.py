"""What the runtime takes from the inside of JAX, Equinox, XLA and NumPyro is still as it was.

A failure here names what a new release changed; the module of that name in `amortppl/runtime` says
what it is needed for.
"""

import threading

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.handlers as handlers
import pytest
from jax.extend.core import Jaxpr, Literal, Primitive
from jax.interpreters.partial_eval import dce_jaxpr

from amortppl.runtime.compilation import LIGHT, UNOPTIMIZED
from amortppl.runtime.handler_stack import has_handler, separate_stacks
from amortppl.runtime.index_tracing import trace_indices
from amortppl.runtime.log_gamma import differentiates_log_gamma
from amortppl.runtime.numpyro_enumeration import is_enumerating, markov_context
from amortppl.runtime.numpyro_plates import plate_of_rows, plate_rows
from amortppl.runtime.tracers import is_traced


@pytest.mark.parametrize("options", [UNOPTIMIZED, LIGHT])
def test_xla_knows_the_options_and_refuses_others(options):
    doubled = jax.jit(lambda x: 2 * x, compiler_options=options)
    np.testing.assert_allclose(doubled(jnp.ones(2)), 2.0)
    with pytest.raises(Exception, match="xla_no_such_option"):
        jax.jit(lambda x: 2 * x, compiler_options={"xla_no_such_option": True})(jnp.ones(2))


def test_equinox_tells_the_shapes_of_a_lowered_program():
    lowered = eqx.filter_jit(lambda x, name: {name: x[0]}).lower(np.ones((2, 3)), "first")
    result = lowered.postprocess(lowered.lowered.out_info)
    assert result["first"].shape == (3,) and callable(lowered.compile)


def test_jaxprs_are_built_as_they_are_rewritten():
    own = jax.custom_jvp(jnp.sin)
    own.defjvp(lambda at, along: (own(*at), along[0]))
    closed = jax.make_jaxpr(jax.jit(lambda x: own(x) + 1.0))(jnp.float32(2.0))
    assert isinstance(closed.jaxpr, Jaxpr) and not closed.consts
    (call,) = closed.jaxpr.eqns
    assert call.primitive.name in ("jit", "pjit") and isinstance(call.primitive, Primitive)
    inner = call.params["jaxpr"]
    assert isinstance(inner.jaxpr, Jaxpr) and list(inner.consts) == []
    custom, plus = inner.jaxpr.eqns
    assert {"call_jaxpr", "jvp_jaxpr_fun", "symbolic_zeros", "num_consts"} <= set(custom.params)
    assert custom.primitive.name == "custom_jvp_call" and custom.params["num_consts"] == 0
    rule, _, _ = custom.params["jvp_jaxpr_fun"].call_wrapped(False)
    assert isinstance(rule, Jaxpr)
    assert isinstance(plus.invars[1], Literal) and float(plus.invars[1].val) == 1.0
    bound = plus.primitive.get_bind_params(plus.params)
    rest = bound[1] if isinstance(bound, tuple) else bound
    assert float(plus.primitive.bind(jnp.float32(1.0), jnp.float32(1.0), **rest)) == 2.0


def test_equations_that_nothing_needs_are_dropped():
    jaxpr = jax.make_jaxpr(lambda x: (jnp.sin(x), jnp.cos(x)))(1.0).jaxpr
    needed, used = dce_jaxpr(jaxpr, [True, False], instantiate=True)
    assert [e.primitive.name for e in needed.eqns] == ["sin"] and used == [True]


def test_an_index_is_seen_through_what_jax_makes_of_it():
    """Counted from the end, of one axis of two, through an inner program, shifted; no other use."""
    table = jnp.zeros((4, 5))

    def use(d):
        return table[d["group"]], jax.jit(lambda i: table[:, i + 2])(d["group"]), 2.0 * d["other"]

    like = {n: jax.ShapeDtypeStruct((6,), "int32") for n in ("group", "other")}
    uses = trace_indices(use, like, ["group", "other"])
    assert [(u.size, u.of(np.array([1])).tolist()) for u in uses["group"]] == [(4, [1]), (5, [3])]
    assert uses["other"] == []


def test_lgamma_is_a_primitive_whose_derivative_is_digamma():
    assert jax.lax.lgamma_p.name == "lgamma"
    assert differentiates_log_gamma(jax.lax.lgamma, 2.0)
    assert not differentiates_log_gamma(jnp.sin, 2.0)


def test_traced_values_are_tracers():
    seen = []
    jax.jit(lambda x: seen.append(is_traced(x)))(1.0)
    jax.vmap(lambda x: seen.append(is_traced(x)))(jnp.ones(2))
    jax.eval_shape(lambda x: seen.append(is_traced(x)), 1.0)
    assert seen == [True] * 3 and not is_traced(jnp.ones(2)) and not is_traced(1.0)


def test_handlers_are_on_the_stack_of_their_thread():
    """NumPyro's own modules put handlers where they are looked for, and another thread has none."""
    separate_stacks()
    elsewhere = []
    with handlers.seed(rng_seed=0), handlers.block():
        assert has_handler(handlers.seed) and has_handler(handlers.block)
        thread = threading.Thread(target=lambda: elsewhere.append(has_handler(handlers.seed)))
        thread.start()
        thread.join()
        drawn = numpyro.sample("x", dist.Normal())  # with no key but the handler's
    assert np.isfinite(drawn) and elsewhere == [False] and not has_handler(handlers.seed)


def test_plates_take_the_rows_they_are_given():
    rows = jnp.array([4, 1])
    with handlers.seed(rng_seed=0), handlers.trace() as trace, plate_of_rows("rows", 6, rows) as at:
        numpyro.sample("x", dist.Normal())
    np.testing.assert_array_equal(at, rows)
    assert trace["x"]["value"].shape == (2,) and trace["x"]["scale"] == 3.0
    with handlers.seed(rng_seed=0):
        plate = numpyro.plate("all", 3)
    np.testing.assert_array_equal(plate_rows(plate), [0, 1, 2])


def test_markov_contexts_let_dimensions_be_used_again():
    """Two steps apart, two latents of a chain have the same dimension; within reach, others."""
    from numpyro.contrib.funsor import config_enumerate, enum

    def chain():
        inside, context = [], markov_context(history=1, keep=False)
        for t in range(4):
            inside.append(is_enumerating())
            with context:
                numpyro.sample(f"x{t}", dist.Categorical(jnp.ones(2) / 2))
        return inside

    with handlers.seed(rng_seed=0), enum(first_available_dim=-1), handlers.trace() as trace:
        inside = config_enumerate(chain)()
    assert inside == [True] * 4 and not is_enumerating()
    assert max(trace[f"x{t}"]["value"].ndim for t in range(4)) <= 2
