"""The methods of docs/paper.md, with what differs from their defaults."""

from dataclasses import dataclass, field, replace
from typing import Any

import amortppl as ap


@dataclass(frozen=True)
class Contender:
    """A method: its name in inference/, options, and what differs in its schedule."""

    method: str
    options: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)

    @property
    def spec(self) -> Any:
        """The configured method."""
        return ap.method(self.method, **self.options)


def explicit(latent: int) -> Contender:
    """The explicit regime with so many numbers in z."""
    options = {"layers": 2, "hidden": 32, "latent": latent}
    return Contender("iterative_explicit", options, {"rate": 3e-3})


ITERATED = {
    "parametric": Contender("iterative_parametric", {"layers": 2}),
    "parametric, whitened": Contender("iterative_parametric", {"closed_form": True, "layers": 2}),
    "explicit": explicit(8),
    "implicit": Contender("iterative_implicit"),
}

SIGNALS = {
    " + ".join(s): Contender(
        "iterative_parametric",
        {"signals": s, "posterior": "diagonal", "layers": 2},
    )
    for s in (("data",), ("gradient",), ("data", "gradient"))
}

LEARNED = {
    "MAML": Contender("maml"),
    "Meta-SGD": Contender("meta_sgd"),
    "learned optimiser": Contender("learned_optimiser"),
    "hypernetwork": Contender("hypernetwork"),
    "prior-fitted transformer": Contender("prior_fitted"),
    "neural process": Contender("neural_process"),
    "in-context memory": Contender("in_context"),
    "conjugate head": Contender("conjugate_head"),
    "synthetic gradient": Contender("synthetic_gradient"),
    "default guide": Contender("parametric"),
}

OBJECTIVES = {
    "parametric, reverse KL": Contender(
        "iterative_parametric", {"layers": 2, "objective": "reverse_kl"}
    ),
    "one pass, reverse KL": Contender("reverse_kl", {"layers": 2}),
}

UNLEARNED = {
    "Laplace": Contender("laplace"),
    "SVI": Contender("svi"),
}

PREDICTIVE = [n for n in LEARNED if n not in ("learned optimiser", "default guide")]

EXPLICIT = {
    "explicit, curvature": Contender(
        "iterative_explicit",
        {"layers": 2, "hidden": 32, "signals": ("data", "gradient", "curvature")},
    )
}

ONE_STEP = {
    "one step of 256 rows": Contender(
        "iterative_parametric", {"layers": 2, "most": 256}, {"batch": 16}
    )
}

STATES = {
    f"implicit, {state}": Contender("iterative_implicit", {"state": state})
    for state in ("probabilities", "hidden")
}

ATTENTION = {
    "implicit, attention": Contender("iterative_implicit", {"state": "attention", "hidden": 64})
}

WITHOUT_LATENTS = {"explicit": explicit(16), "implicit": ITERATED["implicit"]}

PLAN: dict[str, dict[str, Contender]] = {
    "line5": ITERATED
    | {f"signals: {n}": c for n, c in SIGNALS.items()}
    | LEARNED
    | UNLEARNED
    | EXPLICIT
    | OBJECTIVES
    | ONE_STEP
    | STATES,
    "line100": {f"signals: {n}": replace(c, schedule={"batch": 32}) for n, c in SIGNALS.items()},
    "process": WITHOUT_LATENTS | {n: LEARNED[n] for n in PREDICTIVE},
    "weights": {n: ITERATED[n] for n in ("parametric", "parametric, whitened")}
    | {n: LEARNED[n] for n in ("learned optimiser", "default guide")}
    | UNLEARNED,
    "classes": ITERATED | {"explicit": explicit(24)} | LEARNED | UNLEARNED | STATES,
    "flow": WITHOUT_LATENTS | ATTENTION | {n: LEARNED[n] for n in PREDICTIVE},
    "letters": WITHOUT_LATENTS | ATTENTION | {n: LEARNED[n] for n in PREDICTIVE},
    "mixture": {
        "parametric": Contender("iterative_parametric", {"layers": 2, "signals": ("data",)}),
        "parametric, all signals": ITERATED["parametric"],
        "parametric, whitened": ITERATED["parametric, whitened"],
    },
    # The questions of an order tell each other's answers: "synthetic gradient" sees all of them.
    "order": WITHOUT_LATENTS
    | {n: LEARNED[n] for n in PREDICTIVE if n != "synthetic gradient"}
    | {"implicit, hidden": STATES["implicit, hidden"]},
}
