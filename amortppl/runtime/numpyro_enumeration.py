"""NumPyro's enumeration of discrete latents: whether it is under way, and its markov contexts.

Leans on `numpyro.contrib.funsor.enum_messenger`: on `LocalNamedMessenger`, the context that
`numpyro.contrib.funsor.markov` opens for each step, with its arguments `history` and `keep`. The
public `markov` wraps a loop, and Pyro's contexts open and close one by one. Checked with NumPyro
0.22.0; tests/runtime/test_internals.py fails where the messenger changes.
"""

import sys
from typing import Any

from amortppl.runtime.handler_stack import has_handler


def is_enumerating() -> bool:
    """Whether NumPyro enumerates discrete latents around the caller; imports no funsor."""
    funsor = sys.modules.get("numpyro.contrib.funsor.enum_messenger")
    return funsor is not None and has_handler(funsor.enum)


def markov_context(history: int, keep: bool) -> Any:
    """A context in which dimensions of enumerated latents are used again.

    Args:
        history: how many steps back a latent may depend on.
        keep: whether the dimensions stay after the context.
    """
    from numpyro.contrib.funsor.enum_messenger import LocalNamedMessenger

    return LocalNamedMessenger(history=history, keep=keep)
