"""The command line. JAX and the models are imported inside the commands, so that help is quick."""

from amortppl.cli import calibration, fitting, inference, training
from amortppl.cli.app import app

__all__ = ["app", "calibration", "fitting", "inference", "training"]
