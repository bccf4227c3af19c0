"""Training for a number of CPU seconds, compilation included, so that methods are compared at equal
cost.
"""

import time
from importlib import import_module
from types import SimpleNamespace
from unittest import mock

import amortppl as ap


def trained(task, method, seconds, **schedule):
    """A guide trained for so many CPU seconds: training by the clock, which is the CPU's."""
    loop, begin = (import_module(f"amortppl.{n}") for n in ("training.loop", "guide.train"))
    clock = SimpleNamespace(monotonic=time.process_time)
    spec = ap.method(method) if isinstance(method, str) else method
    with mock.patch.object(loop, "time", clock), mock.patch.object(begin, "time", clock):
        return ap.train(task, spec, minutes=seconds / 60, progress=False, **schedule)
