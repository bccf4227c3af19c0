"""A trained method as a guide of NumPyro and of Pyro."""

from typing import Any

from amortppl.data.columns import Columns
from amortppl.guide import numpyro_guide
from amortppl.guide.stepwise import StepwiseGuide
from amortppl.runtime.arguments import expect_seed, expect_whole


class ProgramGuide(StepwiseGuide):
    """The interfaces of NumPyro and Pyro: a call with the model's arguments samples its latents.

    Example:
        >>> import amortppl as ap, numpy as np, numpyro
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(4, 8)), "laplace", progress=False)
        >>> y = np.array([0.3, -0.2, 1.1, 0.4])
        >>> with numpyro.handlers.seed(rng_seed=0), numpyro.handlers.trace() as trace:
        ...     guide(rows=4, y=y)
        >>> trace["mean"]["value"].shape
        ()
        >>> kernel, start = guide.start_nuts({"y": y}, chains=2)
        >>> start["mean"].shape
        (2,)
        >>> guide.to_pyro().__name__  # for Pyro's SVI, Importance and Predictive
        'guide_gaussian_mean_pyro'
    """

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Samples the model's latents as a NumPyro guide, given the model's arguments.

        The weights are the parameter `amortppl_weights`, so `SVI` fine-tunes them.

        Raises:
            DataError: an argument is missing, or the task has local latents.
        """
        numpyro_guide.sample(self, args, kwargs)

    def start_nuts(
        self,
        data: Any,
        chains: int = 4,
        seed: int = 0,
        *,
        columns: Columns | None = None,
        **options: Any,
    ) -> Any:
        """A NUTS kernel and initial parameters that start from this dataset's posterior.

        Args:
            data: the dataset.
            chains: the number of chains; each starts at a draw from the guide.
            seed: the seed of the draws.
            columns: for DataFrames, the columns of each argument.
            options: further options of `numpyro.infer.NUTS`, whose `target_accept_prob` is 0.7
                here. Where k-hat is above 0.7, `adapt_mass_matrix=True` with a warm-up of some
                hundreds of steps.

        Returns:
            (kernel, init_params), for `MCMC(kernel, ...).run(key, ..., init_params=init_params)`.
            The mass matrix is the guide's covariance and stays: a warm-up of 50 steps is enough.

        Raises:
            DataError: the data do not fit, or the task has local latents.
        """
        expect_whole("chains", chains, 1)
        expect_seed(seed)
        return numpyro_guide.start_nuts(self, data, chains, seed, columns, options)

    def to_pyro(self) -> Any:
        """This guide for Pyro's SVI, Importance, Predictive and NUTS.

        See `amortppl.guide.pyro_guide.PyroGuide`, which has an example.

        Raises:
            ImportError: the extra `pyro` is not installed.
        """
        from amortppl.pyro.requirements import require

        require()
        from amortppl.guide.pyro_guide import PyroGuide

        return PyroGuide(self)
