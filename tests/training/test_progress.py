"""What a training says of itself before it goes on for long."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from amortppl.training.forecast import forecast
from amortppl.training.progress import Training
from amortppl.training.schedule import Schedule
from amortppl.training.trainer import Trainer


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (40, "40 seconds"), (240, "4 minutes"), (9000, "2.5 hours")],
)
def test_it_says_how_long_it_will_take(seconds, words, capsys):
    Training(3000, None, "cpu", True).estimate(seconds, 2975)
    assert f"2,975 updates will take about {words}" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "hint"), [(599, False), (601, True)])
def test_longer_than_ten_minutes_it_says_how_to_shorten_it(seconds, hint, capsys):
    report = Training(3000, None, "cpu", True)
    report.estimate(seconds, 2975)
    assert ("minutes= to end by the clock" in capsys.readouterr().err) is hint
    report.foretell(seconds)  # tasks that are simulated before the first update
    assert ("tasks alone will take about 10 minutes" in capsys.readouterr().err) is hint


def test_the_estimate_is_of_one_evaluation_before_the_first_update(monkeypatch):
    """A call that takes 10 s, of which it compiles for 9.7, and that makes no update."""
    spent = SimpleNamespace(seconds=10.0, total=SimpleNamespace(preparing=9.7))
    monkeypatch.setattr("amortppl.training.forecast.timings", lambda: nullcontext(spent))
    run = object.__new__(Trainer)
    run.schedule, run.pool, run.mesh, run.seed = Schedule(steps=3000), None, None, 0
    run.advance = lambda learner, steps, *_: (bool(min(steps) >= 3000), {})
    inactive, seconds = forecast(run, None)
    assert inactive and seconds == pytest.approx(0.3 * (3000 + 120))


def test_without_progress_it_says_nothing(capsys):
    Training(3000, None, "cpu", False).estimate(1e6, 2975)
    assert not capsys.readouterr().err
