"""Reports of posteriors that other samplers made: the verdict of a Stan user, and what is shown."""

import re
from html import unescape

import arviz_stats
import numpy as np
import pytest
import xarray as xr

import amortppl as ap
from amortppl.errors import DataError
from amortppl.report.any_posterior import read_posterior
from amortppl.report.chain_checks import check_chains, judge_chains
from browser import WIDE, WIDTHS, Page, fits, run_in_page

DRAW = ("chain", "draw")


def independent(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal((4, 500, *shape))


def tree_of(posterior, **groups):
    sets = {"/posterior": xr.Dataset(posterior), **{f"/{n}": g for n, g in groups.items()}}
    return xr.DataTree.from_dict(sets)


def pymc_tree():
    """As PyMC's documentation has it: InferenceData of a sample with prior and predictions."""
    rng = np.random.default_rng(0)
    labels = {"chain": range(4), "draw": range(500), "feature": ["age", "bmi"], "obs": range(40)}
    mean = rng.standard_normal(40)
    about = {"inference_library": "pymc", "inference_library_version": "5.26.1"}
    posterior = {"beta": ((*DRAW, "feature"), independent(2)), "sigma": (DRAW, independent() ** 2)}
    stats = {n: (DRAW, np.zeros((4, 500), bool)) for n in ("diverging", "reached_max_treedepth")}
    stats["energy"] = (DRAW, independent(seed=1))
    log_density = -0.5 * (mean - 0.1 * independent(40)) ** 2
    prior = {"beta": ((*DRAW, "feature"), 5 * rng.standard_normal((1, 300, 2)))}
    sets = {
        "/posterior": (posterior, about),
        "/sample_stats": (stats, about),
        "/log_likelihood": ({"y": ((*DRAW, "obs"), log_density)}, {}),
        "/prior": (prior, {}),
        "/posterior_predictive": ({"y": ((*DRAW, "obs"), independent(40, seed=2))}, {}),
        "/observed_data": ({"y": ("obs", mean)}, {}),
    }
    made = {n: xr.Dataset(v, attrs=a) for n, (v, a) in sets.items()}
    named = {
        n: d.assign_coords({k: list(v) for k, v in labels.items() if d.sizes.get(k) == len(v)})
        for n, d in made.items()
    }
    return xr.DataTree.from_dict(named)


def cmdstan_tree():
    """As `az.from_cmdstanpy` names things: `theta_dim_0`, `lp`, `n_steps`."""
    stats = {n: (DRAW, independent(seed=i)) for i, n in enumerate(("lp", "energy"))}
    stats |= {"diverging": (DRAW, np.zeros((4, 500), bool))}
    stats |= {"tree_depth": (DRAW, np.full((4, 500), 3)), "n_steps": (DRAW, np.full((4, 500), 7))}
    theta = xr.Dataset({"theta": ((*DRAW, "theta_dim_0"), independent(8))})
    return xr.DataTree.from_dict({"/posterior": theta, "/sample_stats": xr.Dataset(stats)})


def replaced(tree, group, **variables):
    sets = {f"/{n}": g.to_dataset() for n, g in tree.children.items()}
    sets[f"/{group}"] = sets[f"/{group}"].assign(variables)
    return xr.DataTree.from_dict(sets)


def verdict_of(tree):
    return judge_chains(check_chains(read_posterior(tree)))


def page_of(posterior, folder):
    text = ap.report(posterior, folder / "report.html").read_text()
    assert "could not be shown" not in text
    return text


def test_convergence_is_arvizs():
    tree = tree_of({"x": ((*DRAW, "i"), independent(3))})
    checks = check_chains(tree)
    for values, theirs in (
        (checks.rhat, arviz_stats.rhat(tree)),
        (checks.bulk, arviz_stats.ess(tree)),
        (checks.tail, arviz_stats.ess(tree, method="tail", prob=(0.05, 0.95))),
    ):
        np.testing.assert_allclose(values, theirs["x"], rtol=1e-6)


def test_independent_draws_are_good():
    """Of seeds 0 to 199 none fails: R-hat of 2,000 draws of 5 latents stays below 1.01."""
    for seed in range(5):
        words, _ = verdict_of(tree_of({"x": ((*DRAW, "i"), independent(5, seed=seed))}))
        assert words == "good: the chains agree and are long enough"


def stuck():
    draws = independent(2)
    draws[1] = draws[1, 0]
    return tree_of({"x": ((*DRAW, "i"), draws)})


def bimodal():
    return tree_of({"x": (DRAW, 0.3 * independent() + np.array([[-3], [3], [-3], [3]]))})


def diverging(count):
    marks = np.zeros((4, 500), bool)
    marks.flat[:count] = True
    return tree_of(
        {"x": (DRAW, independent())}, sample_stats=xr.Dataset({"diverging": (DRAW, marks)})
    )


def slow():
    """An autoregression of which 2,000 draws count as about 2,000 (1 - 0.99) / 1.99 = 10."""
    draws, noise = np.zeros((4, 500)), independent()
    for i in range(1, 500):
        draws[:, i] = 0.99 * draws[:, i - 1] + noise[:, i]
    return tree_of({"x": (DRAW, draws)})


def with_nan():
    draws = independent(2)
    draws[0, 3, 1] = np.nan
    return tree_of({"x": ((*DRAW, "i"), draws)})


def low_energy():
    steps = np.cumsum(independent(), 1)
    return tree_of({"x": (DRAW, independent())}, sample_stats=xr.Dataset({"energy": (DRAW, steps)}))


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        (stuck(), "not reliable: chain 1 does not move in x[0], x[1]"),
        (bimodal(), "not reliable: chains lie apart: of x chains 0, 2 around "),
        (diverging(30), "not reliable: 30 of 2,000 transitions diverged"),
        (diverging(3), "usable: with care, 3 of 2,000 transitions diverged"),
        (slow(), "not reliable: "),
        (with_nan(), "not reliable: not finite: 1 of the draws of x[1]"),
        (low_energy(), "usable: with care, E-BFMI is 0."),
        (tree_of({"x": (DRAW, independent()[:1])}), "not checked: one chain"),
        (tree_of({"x": (DRAW, independent()[:, :2])}), "not checked: 4 x 2 draws are too few"),
        (pymc_tree(), "good: "),
        (cmdstan_tree(), "good: "),
    ],
)
def test_verdicts(tree, words, tmp_path):
    """What a Stan user would say, and a page that says it first."""
    verdict, _ = verdict_of(tree)
    assert verdict.startswith(words)
    text = page_of(tree, tmp_path)
    first = re.search(r'<div class="verdict (\w+)"><strong>(.*?)</strong>', text)
    assert unescape(first.group(2)).lower() == verdict.lower()
    assert first.start() < text.index("<h2>")


def test_an_autoregression_counts_few_draws():
    checks = check_chains(slow())
    assert 4 < checks.bulk[0] < 40


def test_shows_what_the_groups_hold(tmp_path):
    page = Page(page_of(pymc_tree(), tmp_path))
    for words in (
        "made by pymc 5.26.1",
        "beta[bmi]",
        "Prior and posterior",
        "Does the model reproduce the data?",
        "Rows left out one by one",
        "Pairs of the worst",
        "beta: medians, halves",
    ):
        assert words in page.text, words
    assert all(alt and len(alt) > 20 for alt in page.alts)
    assert all(link.startswith("data:") for link in page.loads)


def test_contraction_of_known_sds(tmp_path):
    """Posterior sd 1, prior sd 5: 1 - 1 / 25."""
    rows = re.findall(
        r"<tr><th scope=\"row\">beta\[age\]</th>(.*?)</tr>", page_of(pymc_tree(), tmp_path)
    )
    cells = re.findall(r"<td>(.*?)</td>", rows[1])
    assert float(cells[4]) == pytest.approx(0.96, abs=0.01)


def test_rows_of_high_k_and_of_bad_fit_are_named(tmp_path):
    """Weights 1 / p = exp(1.5 e) of exponential e are Pareto of shape 1.5."""
    tree = pymc_tree()
    values = tree["log_likelihood"]["y"].values.copy()
    values[..., 17] = -1.5 * np.random.default_rng(3).exponential(size=(4, 500))
    values[..., 5] -= 5000
    tree = replaced(tree, "log_likelihood", y=((*DRAW, "obs"), values))
    text = Page(page_of(tree, tmp_path)).text
    shape = float(re.search(r"Rows with a high Pareto k: 17 \(([\d.]+)\)", text)[1])
    assert 1.0 < shape < 2.0
    assert re.search(r"row ELPD Pareto k 5 -50\d\d", text)


@pytest.mark.parametrize(
    ("observed", "predicted", "constant", "words"),
    [
        (lambda r: r.integers(0, 2, 60), lambda r: r.integers(0, 2, (1, 300, 60)), {}, "isotonic"),
        (lambda r: r.integers(1, 6, 60), lambda r: r.integers(1, 6, (1, 300, 60)), {}, "Categories of y"),
        (lambda r: r.poisson(9, 60), lambda r: r.poisson(9, (1, 300, 60)), {}, "Counts of y"),
        (lambda r: r.normal(size=60), lambda r: r.normal(size=(1, 300, 60)), {}, "Densities of y"),
        (
            lambda r: np.minimum(r.exponential(size=60), 1.0),
            lambda r: r.exponential(size=(1, 300, 60)),
            {"y": ("obs", np.arange(60) % 3 > 0)},
            "Kaplan and Meier",
        ),
    ],
)  # fmt: skip
def test_predictive_checks_by_kind(observed, predicted, constant, words, tmp_path):
    rng = np.random.default_rng(0)
    groups = {
        "observed_data": xr.Dataset({"y": ("obs", observed(rng))}),
        "posterior_predictive": xr.Dataset({"y": ((*DRAW, "obs"), predicted(rng))}),
    }
    groups |= {"constant_data": xr.Dataset(constant)} if constant else {}
    assert words in page_of(tree_of({"x": (DRAW, independent())}, **groups), tmp_path)


def test_names_are_escaped_and_nothing_runs(tmp_path):
    name = "<img src=x onerror=alert(1)>$\\frac"
    tree = tree_of({name: ((*DRAW, "i"), independent(2)), "b": (DRAW, independent())})
    tree.attrs.update(warnings="<script>", model="</title><script>", training="[1]", versions="3")
    text = page_of(tree, tmp_path)
    page = Page(text)
    assert page.tags.count("script") <= 1 and "onerror=alert(1)>" not in text
    assert "default-src 'none'" in text and all(x.startswith("data:") for x in page.loads)


@pytest.mark.slow
def test_many_latents_come_worst_first(tmp_path):
    draws = independent(1000)
    draws[2, :, 707] += 3
    text = page_of(tree_of({"z": ((*DRAW, "i"), draws), "mu": (DRAW, independent())}), tmp_path)
    page = Page(text)
    assert "in 1 of 1001 latents" in page.text and "960 further entries without a line" in page.text
    assert text.index('<th scope="row">z[707]') < text.index('<th scope="row">z[0]')
    assert len(page.alts) < 70


def test_what_is_no_number_is_left_out_and_told(tmp_path):
    words = np.full((4, 500), "a", dtype=object)
    tree = tree_of(
        {"c": (DRAW, independent() + 1j), "w": (DRAW, words), "x": (DRAW, independent())}
    )
    text = Page(page_of(tree, tmp_path)).text
    assert "since they are complex: c" in text and "since they are no numbers: w" in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (xr.DataTree(), "expected a tree with a group 'posterior', got no groups"),
        (tree_of({"x": ("sample", np.ones(3))}), "expected draws along 'chain' and 'draw'"),
        (tree_of({"x": (DRAW, np.ones((0, 0)))}), "no draws"),
        (tree_of({"x": (DRAW, np.ones((4, 9)) + 1j)}), "nothing to show .* complex"),
        (3, "expected a NetCDF file"),
        ([], "at least one posterior"),
    ],
)
def test_bad_input(given, words, tmp_path):
    with pytest.raises(DataError, match=words):
        ap.report(given, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_side_by_side(tmp_path):
    """Means differ by 0.5 sds, and the second's sds are twice as large."""
    one, two = (pymc_tree() for _ in range(2))
    values = two["posterior"]["sigma"].values
    two = replaced(two, "posterior", sigma=(DRAW, 2 * values + 0.5 * values.std()))
    text = Page(page_of({"one": one, "two": two}, tmp_path)).text
    assert "2 posteriors: 2 good" in text and "ELPD of each posterior" in text
    row = re.search(r"sigma ([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) \+([\d.]+) ([\d.]+)", text)
    mean, sd, *_, difference, ratio = map(float, row.groups())
    assert ratio == pytest.approx(2.0) and difference == pytest.approx(mean / sd + 0.5, abs=0.02)


def test_files_and_the_command(tmp_path):
    from typer.testing import CliRunner

    from amortppl.cli.commands import app

    paths = [tmp_path / f"{n}.nc" for n in ("pymc", "stan")]
    for path, tree in zip(paths, (pymc_tree(), cmdstan_tree()), strict=True):
        tree.to_netcdf(path, engine="h5netcdf")
    done = CliRunner().invoke(app, ["report", str(paths[0])])
    assert done.exit_code == 0 and "Good" in (tmp_path / "pymc.html").read_text()
    done = CliRunner().invoke(app, ["report", *map(str, paths), "--out", str(tmp_path / "b.html")])
    assert done.exit_code == 0 and "no latent in common" in (tmp_path / "b.html").read_text()
    paths[0].write_bytes(b"nothing")
    done = CliRunner().invoke(app, ["report", str(paths[0]), "--out", str(tmp_path / "c.html")])
    assert done.exit_code == 1 and "not a NetCDF file" in done.output


@pytest.mark.parametrize("kind", ["link", "storage"])
def test_nothing_outside_the_file_is_read(tmp_path, kind):
    import h5py

    secret, path = tmp_path / "secret", tmp_path / "posterior.nc"
    secret.write_bytes(np.arange(2000.0).tobytes())
    cmdstan_tree().to_netcdf(path, engine="h5netcdf")
    with h5py.File(path, "a") as file:
        if kind == "link":
            file["posterior/stolen"] = h5py.ExternalLink(str(secret), "/")
        else:
            where = [(str(secret), 0, 16000)]
            file.create_dataset("posterior/stolen", (2000,), "f8", external=where)
    with pytest.raises(OSError, match="'stolen'"):
        ap.report(path, tmp_path / "report.html")


SEARCH = """
const field = f.contentDocument.querySelector("input.find");
field.value = "z[7"; field.dispatchEvent(new Event("input"));
const rows = [...f.contentDocument.querySelectorAll("table.sortable tbody tr")].filter(r => !r.hidden);
return {...WIDE, rows: rows.length};
""".replace("WIDE", WIDE)


def test_fits_phone_and_laptop_and_can_be_searched(tmp_path):
    """Of z[0] to z[29] only z[7] is left."""
    draws = {"z": ((*DRAW, "i"), independent(30)), "a_long_" * 9: (DRAW, independent())}
    pages, complaints = run_in_page(page_of(tree_of(draws), tmp_path), tmp_path, SEARCH)
    assert not complaints and all(page["rows"] == 1 for page in pages)
    assert all(page["width"] <= at for page, at in zip(pages, WIDTHS, strict=True))


def test_side_by_side_fits(tmp_path):
    assert fits(page_of({"one": pymc_tree(), "two": pymc_tree()}, tmp_path), tmp_path)
