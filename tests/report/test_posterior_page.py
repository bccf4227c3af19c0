"""The report: what it says, that it loads nothing, and that it fits a phone and a laptop."""

import json
import re
from html import unescape

import numpy as np
import pytest
import xarray as xr

from amortppl.diagnostics.calibration import Calibration
from amortppl.diagnostics.calibration_page import write_calibration
from amortppl.diagnostics.sbc import Measurements
from amortppl.report.netcdf import read_tree, write_tree
from amortppl.report.posterior_page import write_report
from amortppl.report.summary import number, summaries
from browser import WIDE, WIDTHS, Page, fits, run_in_page

SOURCE = 'def model(x, y=None):\n    w = numpyro.sample("w", dist.Normal(0, 1))  # a < b & c\n'


def tree_of(khat=0.2, warnings=(), reference=True, covariates=3, counts=False, rows=30):
    """A tree as `guide.infer` makes it, from a Gaussian posterior."""
    rng = np.random.default_rng(0)
    names = [f"column_{i}_with_a_long_name" for i in range(covariates)]
    draws = rng.standard_normal((1, 300, covariates))

    def observed(*lead):
        return rng.poisson(3, (*lead, rows)) if counts else rng.standard_normal((*lead, rows))

    labels = {"covariate": names, "obs": np.arange(rows)}
    along = ("chain", "draw")
    groups = {
        "posterior": {"w": ((*along, "covariate"), draws), "sigma": (along, np.exp(draws[..., 0]))},
        "sample_stats": {
            "khat": khat,
            "importance_sample_size": 250.0,
            "rows": rows,
            "source": "amortized",
            "log_weight": (along, np.full((1, 300), -np.log(300))),
        },
        "posterior_predictive": {"y": ((*along, "obs"), observed(1, 300))},
        "observed_data": {"y": ("obs", observed())},
        "constant_data": {"x": (("obs", "covariate"), rng.standard_normal((rows, covariates)))},
    }
    if reference:
        groups["reference_posterior"] = {
            "w": ((*along, "covariate"), draws + 0.5),
            "sigma": groups["posterior"]["sigma"],
        }
    sets = {f"/{n}": xr.Dataset(v).assign_coords(_used(v, labels)) for n, v in groups.items()}
    if reference:
        sets["/reference_posterior"].attrs = {
            "method": "NUTS",
            "seconds": 12.0,
            "guide_seconds": 0.05,
        }
    about = {
        "model": "linear",
        "model_source": SOURCE,
        "training": json.dumps(_training()),
        "warnings": json.dumps(list(warnings)),
        "versions": json.dumps({"jax": "0.10.9"}),
        "seed": 7,
        "inference_library": "amortppl",
        "inference_library_version": "0.1.0",
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=about), **sets})


def _used(variables, labels):
    used = {
        d
        for v in variables.values()
        if isinstance(v, tuple)
        for d in ([v[0]] if isinstance(v[0], str) else v[0])
    }
    return {d: c for d, c in labels.items() if d in used}


def _training():
    return {
        "method": "Parametric",
        "options": {"width": 32, "signals": ["data", "gradient"]},
        "rows": [8, 512],
        "steps": 100,
        "tasks": 12800,
        "seconds": 61.2,
        "device": "1 x cpu",
        "unusable": 0,
        "skipped": 0,
        "loss": [3.0, 1.0, 0.6, 0.5],
        "held_out": [2.0, 1.1, 0.7, 0.6],
    }


def several(khats):
    """Many datasets along `task`, all with the same draws."""
    tree = tree_of()
    groups = {f"/{n}": g.dataset.expand_dims(task=len(khats)) for n, g in tree.children.items()}
    groups["/sample_stats"]["khat"] = ("task", np.array(khats))
    attributes = {
        **tree.attrs,
        "warnings": json.dumps(["task 1: 600 rows: the guide was trained for 8 to 512"]),
    }
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes), **groups})


def page_of(tree, folder):
    return Page(write_report(tree, folder / "report.html").read_text())


def test_says_what_the_tree_holds(tmp_path):
    page = page_of(tree_of(), tmp_path)
    for words in (
        "Posterior of linear",
        "sigma",
        "w[column_0_with_a_long_name]",
        "x[column_2_with_a_long_name]",
        "Compared with NUTS",
        "Means differ by at most",
        "NUTS took 12 s",
        "Does the model reproduce the data?",
        "The 300 draws are worth 250",
        "12,800",
        "8 to 512",
        "signals data, gradient",
        "0.10.9",
        "# a < b & c",
    ):
        assert words in page.text, words


def test_loads_nothing_and_reads_aloud(tmp_path):
    text = write_report(tree_of(), tmp_path / "report.html").read_text()
    page = Page(text)
    assert all(link.startswith("data:") for link in page.loads)
    assert not {"script", "iframe", "object"} & set(page.tags)
    assert "@import" not in text and "url(" not in text
    assert page.alts and all(alt and len(alt) > 20 for alt in page.alts)
    assert page.headings[0] == 1 and page.headings.count(1) == 1
    assert all(
        after - before <= 1 for before, after in zip(page.headings, page.headings[1:], strict=False)
    )


@pytest.mark.parametrize(
    ("khat", "words", "colour"),
    [
        (0.1, "Good: the guide covers the posterior (k-hat 0.10)", "good"),
        (0.6, "Usable: use the importance weights", "care"),
        (0.9, "Not reliable: the guide misses part of the posterior", "bad"),
        (np.nan, "Not checked", "bad"),
        (np.inf, "Not reliable", "bad"),
    ],
)
def test_verdict_comes_first_in_words_and_colour(tmp_path, khat, words, colour):
    text = write_report(tree_of(khat=khat), tmp_path / "report.html").read_text()
    verdict = re.search(r'<div class="verdict (\w+)"><strong>(.*?)</strong>', text)
    assert verdict.group(1) == colour
    assert words in unescape(verdict.group(2))
    assert text.index("</h1>") < verdict.start() < text.index("<h2>")


def test_warnings_are_shown_and_escaped(tmp_path):
    text = write_report(
        tree_of(warnings=["x <script>alert(1)</script> spans [-9, 9]"]), tmp_path / "r.html"
    ).read_text()
    assert "There are warnings" in text
    assert "&lt;script&gt;alert(1)" in text and "<script" not in text


KHATS = [("0.80", "not reliable"), ("0.60", "usable"), ("0.10", "good")]


def test_many_datasets_are_listed_worst_first(tmp_path):
    page = page_of(several([0.1, 0.8, 0.6]), tmp_path)
    assert "3 datasets: 1 good, 1 usable, 1 not reliable" in page.text
    assert "Task 1 in detail" in page.text
    order = [page.text.index(f"{khat} amortized {word}") for khat, word in KHATS]
    assert order == sorted(order)
    assert "600 rows" in page.text


def test_many_latents_are_cut_and_counted(tmp_path):
    page = page_of(tree_of(covariates=230, reference=False), tmp_path)
    assert "207 further latents without a figure" in page.text
    assert "31 further latents left out" in page.text
    assert len(page.alts) < 30


def test_counts_and_a_bare_posterior(tmp_path):
    assert "Counts of y" in page_of(tree_of(counts=True), tmp_path).text
    bare = xr.DataTree.from_dict({"/posterior": tree_of()["posterior"].dataset})
    page = page_of(bare, tmp_path)
    assert "Posterior of a model" in page.text and "Not checked: one chain, and" in page.text


def test_without_a_posterior_it_is_an_error_and_no_file(tmp_path):
    with pytest.raises(ValueError, match="group 'posterior'"):
        write_report(xr.DataTree(), tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def test_figures_leave_matplotlib_as_it_was(tmp_path):
    import matplotlib as mpl

    before, backend = dict(mpl.rcParams), mpl.rcParams._get_backend_or_none()
    write_report(tree_of(), tmp_path / "report.html")
    assert dict(mpl.rcParams) == before and mpl.rcParams._get_backend_or_none() == backend


def test_summary_of_known_draws():
    draws = np.arange(101.0).reshape(1, 101)
    (row,) = summaries(xr.Dataset({"a": (("chain", "draw"), draws)}))
    assert row[:5] == pytest.approx(("a", 50.0, np.std(draws, ddof=1), 5.5, 94.5))


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [
        (1.68e-5, 0.03, "0.0000"),
        (-1e-9, 0.1, "0.000"),
        (123.456, 20.0, "123.5"),
        (442, None, "442"),
        (np.nan, 1.0, "none"),
    ],
)
def test_numbers_have_the_digits_their_spread_deserves(value, scale, text):
    assert number(value, scale) == text


def test_netcdf_round_trip_and_damage(tmp_path):
    tree = tree_of()
    path = write_tree(tree, tmp_path / "posterior.nc")
    again = read_tree(path)
    assert again["posterior"].dataset.equals(tree["posterior"].dataset)
    assert again.attrs["model"] == "linear"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(OSError, match=r"posterior\.nc"):
        read_tree(path)
    with pytest.raises(FileNotFoundError, match="none"):
        read_tree(tmp_path / "none.nc")


def test_fits_phone_and_laptop_without_complaint(tmp_path):
    text = write_report(
        tree_of(warnings=["a_very_long_word" * 12], covariates=6), tmp_path / "report.html"
    ).read_text()
    assert fits(text, tmp_path)


def test_calibration_fits_phone_and_laptop(tmp_path):
    """Its table by region opened, of which 100 datasets have draws far out, and some none that are
    finite.
    """
    rng, shape = np.random.default_rng(0), (300, 3)
    truth, single = rng.standard_normal(shape), [rng.uniform(size=300) for _ in range(4)]
    sd = np.where(np.arange(300)[:, None] < 100, 1e9, 0.3) * np.ones(shape)
    values = (
        truth,
        rng.integers(5, 99, 300),
        truth + sd * rng.standard_normal(shape),
        sd,
        rng.uniform(size=shape),
    )
    calibration = Calibration(
        "a_model",
        ["a[0]", "a[1]", "long_" * 9],
        Measurements(*values, *single, np.array([7, 9])),
        400,
    )
    text = write_calibration(calibration, tmp_path / "calibration.html").read_text()
    assert fits(text.replace("<details", "<details open"), tmp_path)
    assert "100 of 300 datasets" in text and "2 of 302 datasets, of 7 to 9 rows" in text


CLICK = """
const head = [...f.contentDocument.querySelectorAll("th button")].find(b => b.textContent === "k-hat");
head.click();
const first = f.contentDocument.querySelector("table.sortable tbody tr th").textContent;
f.contentDocument.querySelector("a[data-opens]").click();
const open = f.contentDocument.querySelectorAll("details[open]").length;
return {...WIDE, first, open};
""".replace("WIDE", WIDE)


def test_table_of_datasets_sorts_and_opens(tmp_path):
    """A click on k-hat puts the smallest first (task 0); a click on a task opens its plots."""
    text = write_report(several([0.1, 0.8, 0.6]), tmp_path / "report.html").read_text()
    pages, complaints = run_in_page(text, tmp_path, CLICK)
    assert not complaints and all(p["first"] == "0" and p["open"] == 1 for p in pages)
    assert all(page["width"] <= at for page, at in zip(pages, WIDTHS, strict=True))
