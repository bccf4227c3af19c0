"""Runs a Pyro model alone: its sites go to NumPyro, and Pyro's own state is restored afterwards.

Pyro has one stack of handlers, one allocation of plates' dimensions and one switch of validation
for the process. They are set aside under a lock, so that bridged models can run in several threads
and inside Pyro's own inference.
"""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.poutine import runtime
from pyro.poutine.messenger import Messenger

import pyro

_LOCK = threading.RLock()


@contextmanager
def alone(process: Callable[[Any], None]) -> Iterator[None]:
    """Inside, Pyro's sample and param statements call `process(message)`, not torch's samplers."""
    stacks = _empty(runtime._PYRO_STACK), _empty(runtime._DIM_ALLOCATOR._stack)
    with _LOCK, _without_validation(), warnings.catch_warnings(), stacks[0], stacks[1]:
        # Torch's whole numbers.
        warnings.filterwarnings("ignore", "Explicitly requested dtype int64")
        usual, thread = runtime.default_process_message, threading.get_ident()

        def mine_or_usual(message: Any) -> None:
            mine = threading.get_ident() == thread and message["type"] in ("sample", "param")
            (process if mine else usual)(message)

        runtime.default_process_message = mine_or_usual
        try:
            with Messenger():  # Pyro sends no messages while its stack is empty
                yield
        finally:
            runtime.default_process_message = usual


@contextmanager
def apart() -> Iterator[None]:
    """Inside, a model runs in Pyro with no handlers around it and no checks of values."""
    stacks = _empty(runtime._PYRO_STACK), _empty(runtime._DIM_ALLOCATOR._stack)
    with _LOCK, _without_validation(), stacks[0], stacks[1]:
        yield


@contextmanager
def _empty(stack: list[Any]) -> Iterator[None]:
    """A list is empty inside and has its old contents after."""
    kept = list(stack)
    stack.clear()
    try:
        yield
    finally:
        stack[:] = kept


@contextmanager
def _without_validation() -> Iterator[None]:
    """No checks of values, which abstract values cannot pass, and torch's gradients on."""
    distributions = torch.distributions.Distribution
    kept = distributions._validate_args
    with pyro.validation_enabled(False), torch.enable_grad():
        distributions._validate_args = False
        try:
            yield
        finally:
            distributions._validate_args = kept
