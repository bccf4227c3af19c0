"""Tiny guides, trained once for all tests. Compiling is most of what they cost."""

import gc
import os
from pathlib import Path

os.environ.setdefault(
    "XLA_PYTHON_CLIENT_PREALLOCATE", "false"
)  # several test processes may share one GPU

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import amortppl as ap
from amortppl.training import trainer
from amortppl.trust import misspecification
from conjugate import SMALL, line_model, mean_model

FAMILIAR = misspecification.SIMULATED, misspecification.NEAREST
misspecification.SIMULATED, misspecification.NEAREST = 128, 64
"""Tasks simulated to know what is familiar: enough to run. What is about it asks for
`as_many_as_users_have`.
"""

TWO_PARTS, trainer.SHARES = trainer.SHARES, (1.0,)
"""A batch of tasks is padded alike: half as much to compile. What is about its parts asks for
`parts_as_users_have`.
"""

BENCHMARKS = Path(__file__).parent / "benchmarks"

MAPPINGS = 40_000
"""Memory mappings of a test process beyond which compiled programs are dropped: each takes a few,
the kernel
allows 65,530, and the compiler crashes at the next one."""

RESIDENT = 4 << 30
"""Bytes of memory of a test process beyond which they are dropped too."""


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "slow: one of those that together take half of all time; run by `-m slow`"
    )
    config.addinivalue_line(
        "markers", "release: of the slow ones those over a minute; run by .ci/release"
    )
    # The guides of the tests are tiny: the tests that are about this warning ask for it. Not said
    # in pyproject.toml, where it would import amortppl before jaxtyping's hook.
    config.addinivalue_line("filterwarnings", "ignore::amortppl.errors.OutOfRangeWarning")
    # Tracing makes objects by the million, and hardly any garbage: a fourteenth of the time.
    gc.set_threshold(200_000, 20, 100)
    # Without it each process would compile all that it imports: 14 CPU s a worker, 4 one of a test.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # Nearly all of the suite's time is XLA compiling programs that then run for milliseconds.
    jax.config.update("jax_disable_most_optimizations", True)
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    if getattr(config, "cache", None) is not None:
        # What one process compiled the others read, also what is compiled in milliseconds: of that
        # there is most. The variables are for processes that tests start.
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(config.cache.mkdir("jax"))
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        # the list of guides that this user saved is not the tests' to write
        os.environ["XDG_STATE_HOME"] = str(config.cache.mkdir("state"))


def pytest_ignore_collect(collection_path, config):
    """Benchmarks run only when they are named on the command line."""
    named = [
        Path(config.invocation_params.dir, str(a).split("::")[0]).resolve() for a in config.args
    ]
    asked = any(n == BENCHMARKS or BENCHMARKS in n.parents for n in named)
    if collection_path == BENCHMARKS and not asked:
        return True
    return None


def mappings():
    """Memory mappings of this process; none where the system does not tell."""
    maps = Path("/proc/self/maps")
    return len(maps.read_bytes().splitlines()) if maps.exists() else 0


def resident():
    """Bytes of memory of this process; none where the system does not tell."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0


@pytest.fixture(scope="session")
def drop_many_programs():
    """A function that drops compiled programs when the process holds many."""
    limit = RESIDENT

    def drop():
        nonlocal limit
        if mappings() > MAPPINGS or resident() > limit:
            jax.clear_caches()
            gc.collect()
            limit = max(RESIDENT, 1.25 * resident())  # what stays is not dropped again and again

    return drop


@pytest.fixture(autouse=True)
def few_mappings(drop_many_programs):
    """Before each test."""
    drop_many_programs()


@pytest.fixture
def compilations():
    """Names of the programs compiled during a test, as they are."""
    names = []

    def note(event, _, **about):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(note)
    yield names
    jax.monitoring.unregister_event_duration_listener(note)


@pytest.fixture(scope="module")
def as_many_as_users_have():
    """As many tasks simulated to know what is familiar as outside of tests."""
    few = misspecification.SIMULATED, misspecification.NEAREST
    misspecification.SIMULATED, misspecification.NEAREST = FAMILIAR
    yield
    misspecification.SIMULATED, misspecification.NEAREST = few


@pytest.fixture(scope="module")
def parts_as_users_have():
    """Batches of small and of large tasks, each padded to its own size, as outside of tests."""
    trainer.SHARES = TWO_PARTS
    yield
    trainer.SHARES = (1.0,)


@pytest.fixture(scope="session")
def mean_task():
    """One latent, rows 4 to 32."""
    return ap.Task(mean_model, rows=(4, 32))


@pytest.fixture(scope="session")
def mean_guide(mean_task):
    """A guide of `mean_model`, nearly exact from its first step because the model is conjugate."""
    return ap.train(mean_task, ap.method("parametric", **SMALL), steps=50, batch=16, progress=False)


@pytest.fixture(scope="session")
def line_task():
    """A vector latent, one input of two covariates, rows 4 to 32."""
    dims = {"w": ["covariate"], "x": ["covariate"]}
    inputs = {"x": dist.Normal(0, 1).expand([2])}
    return ap.Task(
        line_model, inputs, rows=(4, 32), dims=dims, coords={"covariate": ["age", "dose"]}
    )


@pytest.fixture(scope="session")
def line_guide(line_task):
    """A guide of `line_model`."""
    return ap.train(line_task, ap.method("parametric", **SMALL), steps=50, batch=16, progress=False)


@pytest.fixture(scope="session")
def line_data():
    """20 rows of `line_model`."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 2))
    return {"x": x, "y": x @ [0.5, -1.0] + rng.standard_normal(20)}
