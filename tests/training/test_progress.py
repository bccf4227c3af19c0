"""What a training says of itself before it goes on for long."""

import pytest

from amortppl.training.progress import Training


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (40, "40 seconds"), (240, "4 minutes"), (9000, "2.5 hours")],
)
def test_it_says_how_long_it_will_take(seconds, words, capsys):
    Training(3000, None, "cpu", True).estimate(seconds, 2975)
    assert f"2,975 updates will take about {words}" in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "hint"), [(599, False), (601, True)])
def test_longer_than_ten_minutes_it_says_how_to_shorten_it(seconds, hint, capsys):
    Training(3000, None, "cpu", True).estimate(seconds, 2975)
    assert ("minutes= to end by the clock" in capsys.readouterr().err) is hint


def test_without_progress_it_says_nothing(capsys):
    Training(3000, None, "cpu", False).estimate(1e6, 2975)
    assert not capsys.readouterr().err
