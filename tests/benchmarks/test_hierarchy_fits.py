"""`ap.fit` of hierarchies, nothing trained and nothing cached, beside NUTS of the same program.

    CASES=logistic20,radon uv run pytest tests/benchmarks/test_hierarchy_fits.py -n0 -s

Each fit and each NUTS run has a process of its own and so many CPU seconds; one that needs more is
stopped, and the place where it was is printed. Errors are of all latents, shared ones and effects,
against a longer NUTS run, where `LONG` is in the environment, else against the one that is timed.
"""

import faulthandler
import json
import os
import resource
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

from benchmarks.hierarchy_cases import NAMES, case, numbers_of_groups

LIMIT, DRAWS = int(os.environ.get("LIMIT", "250")), 4000


def use_limited_time():
    """A process that needs more is stopped, and says where it was."""
    faulthandler.register(signal.SIGXCPU, all_threads=False, chain=True)
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 2))


def run_fit(name, path):
    import amortppl as ap

    model, data = case(name)
    begin = time.process_time()
    post = ap.fit(model, data, draws=DRAWS)
    spent = time.process_time() - begin
    stats = post["sample_stats"]
    said = {"seconds": spent, "khat": float(stats["khat"]), "source": stats["source"].item()}
    said |= {"reliable": bool(stats["reliable"]), "warnings": post.attrs.get("warnings")}
    said |= {n: np.ravel(stats[n]).tolist() for n in ("rung_seconds", "rung_failed") if n in stats}
    arrays = {str(n): np.asarray(v)[0] for n, v in post["posterior"].dataset.data_vars.items()}
    np.savez(path, **arrays)
    return said


def run_nuts(name, path, chains, warmup, length, accept):
    import jax
    from numpyro.infer import MCMC, NUTS

    model, data = case(name)
    begin = time.process_time()
    mcmc = MCMC(
        NUTS(model, target_accept_prob=accept),
        num_warmup=warmup,
        num_samples=length,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    mcmc.run(
        jax.random.key(1),
        **{n: jnp.asarray(v) for n, v in data.items()},
        **numbers_of_groups(model, data),
    )
    samples = {n: np.asarray(v, np.float64) for n, v in mcmc.get_samples(True).items()}
    spent = time.process_time() - begin
    np.savez(path, **{n: v.reshape(-1, *v.shape[2:]) for n, v in samples.items()})
    moving = {n: v for n, v in samples.items() if n not in ("factor", "cholesky")}
    size = min(float(np.min(effective_sample_size(v))) for v in moving.values())
    rhat = max(float(np.max(split_gelman_rubin(v))) for v in moving.values())
    return {
        "seconds": spent,
        "ess": size,
        "rhat": rhat,
        "divergent": int(mcmc.get_extra_fields()["diverging"].sum()),
    }


def in_process(*words):
    """What a new process printed, or the place where it ran out of time."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "PYTHONDONTWRITE"))}
    code = f"import sys; sys.path[:0] = ['tests', '.']; from benchmarks.test_hierarchy_fits import main; main(*{words!r})"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=env | {"AMORTPPL_CACHE": "off"},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        places = [p for p in done.stderr.splitlines() if "/amortppl/" in p or "Error" in p]
        return {"stopped": [p.split("/amortppl/")[-1] for p in places][:12] or done.stderr[-2000:]}
    return json.loads(done.stdout.splitlines()[-1])


def main(kind, *words):
    use_limited_time()
    print(json.dumps({"fit": run_fit, "nuts": run_nuts}[kind](*words)))


def compare(ours, theirs):
    """Error of each mean in sds, ratios of sds, and names."""
    z, ratio, names = [], [], []
    for name in theirs.files:
        if name not in ours.files:
            continue
        a, b = (v[name].reshape(len(v[name]), -1).astype(float) for v in (ours, theirs))
        moving = b.std(0) > 1e-6
        a, b = a[:, moving], b[:, moving]
        z += [*((a.mean(0) - b.mean(0)) / b.std(0))]
        ratio += [*(a.std(0) / b.std(0))]
        names += [f"{name}[{i}]" for i in np.nonzero(moving)[0]]
    return np.abs(z), np.array(ratio), names


@pytest.mark.parametrize("name", os.environ["CASES"].split(",") if "CASES" in os.environ else NAMES)
def test_beside_nuts(name, tmp_path, say):
    """A reliable answer is within 0.3 sd and 30%: far beyond the error of both."""
    paths = {n: str(tmp_path / f"{name}_{n}.npz") for n in ("fit", "nuts", "long")}
    fit = in_process("fit", name, paths["fit"])
    say(f"{name}: fit {fit}")
    nuts = in_process("nuts", name, paths["nuts"], 2, 500, 1000, 0.8)
    say(f"{name}: NUTS {nuts}")
    truth = "nuts"
    if "LONG" in os.environ:
        long = in_process("nuts", name, paths["long"], 4, 1000, 4000, 0.95)
        say(f"{name}: longer NUTS {long}")
        truth = "long"
        z, ratio, names = compare(np.load(paths["nuts"]), np.load(paths["long"]))
        say(
            f"{name}: NUTS beside longer NUTS: means {np.median(z):.3f} sd, worst {z.max():.3f}; sds {ratio.min():.2f} to {ratio.max():.2f}"
        )
    if "stopped" in fit:
        return
    z, ratio, names = compare(np.load(paths["fit"]), np.load(paths[truth]))
    say(
        f"{name}: {len(z)} latents, means off by {np.median(z):.3f} sd, worst {z.max():.3f} ({names[z.argmax()]}); "
        f"sd ratio {ratio.min():.3f} ({names[ratio.argmin()]}) to {ratio.max():.3f} ({names[ratio.argmax()]})"
    )
    if fit["reliable"]:
        assert z.max() < 0.3 and np.abs(np.log(ratio)).max() < np.log(1.3)
