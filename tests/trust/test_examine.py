"""Notes on answers that are not reliable."""

from amortppl.trust import psis
from amortppl.trust.examine import _verdict_notes


def test_each_unreliable_answer_has_a_note_that_says_why():
    """One a dataset: where a note says so already, or the verdict points to one, none is added."""
    words = [psis.verdict(0.1), psis.verdict(0.9), psis.verdict(0.9), psis.verdict(0.1, 0.9)]
    notes = _verdict_notes(
        [["far"], [], ["NOT RELIABLE, two modes"], ["plain draws mislead"]], words
    )
    why = "the guide misses part of the posterior; run NUTS started from this guide"
    assert notes == [[], [f"NOT RELIABLE: {why}"], [], []]
