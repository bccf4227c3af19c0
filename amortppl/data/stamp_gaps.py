"""Time stamps of a regular series that leave rows out: the model takes each row for one step."""

import warnings

import numpy as np
import pandas as pd

from amortppl.errors import OutOfRangeWarning

REGULAR, HOLE = 0.75, 5.5
"""Share of steps within a tenth of their median by which a series is regular, and how many medians
a step is that leaves rows out: longer than the weekend and holidays of a daily series of working
days.
"""


def tell_gaps(name: str, stamps: pd.Index, first: int = 0) -> None:
    """Warns where a regular series has a hole: a day that follows another by forty.

    Args:
        name: what to call the time stamps.
        stamps: of all rows, rising.
        first: the number of the first row.

    Warns:
        OutOfRangeWarning: names the first row behind the longest step.

    Example:
        >>> days = pd.date_range("2020-01-01", periods=60)
        >>> with warnings.catch_warnings(record=True, action="always") as caught:
        ...     tell_gaps("the index", days[:20].append(days[40:]))
        >>> print(str(caught[0].message)[:66])
        the time stamps in the index leave rows out: row 20 (2020-02-10 00
    """
    times = stamps.to_timestamp() if isinstance(stamps, pd.PeriodIndex) else stamps
    if len(times) < 8 or not isinstance(times, pd.DatetimeIndex | pd.TimedeltaIndex):
        return
    steps = np.diff(times.asi8).astype(float)
    usual = np.median(steps)
    regular = np.mean(np.abs(steps - usual) <= 0.1 * usual) >= REGULAR
    longest = int(np.argmax(steps))
    if regular and steps[longest] > HOLE * usual:
        warnings.warn(
            f"the time stamps in {name} leave rows out: row {first + longest + 1} "
            f"({stamps[longest + 1]}) comes {steps[longest] / usual:.0f} usual steps after the row "
            "before it. Rows are steps to the model, whatever their time stamps say: infer the "
            "longest piece without gaps, or mark missing rows in a model that has a mask",
            OutOfRangeWarning,
            stacklevel=2,
        )
