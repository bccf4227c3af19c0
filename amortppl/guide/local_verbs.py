"""The verbs of latents of which every row, or every group, has its own."""

from typing import TYPE_CHECKING, Any

from amortppl.data.columns import Columns
from amortppl.guide.local_draws import draw_local, moments_of_local
from amortppl.guide.table_guide import TableGuide
from amortppl.runtime.arguments import expect_seed

if TYPE_CHECKING:
    import xarray


class LocalVerbs(TableGuide):
    """Draws and moments of local latents, given draws of the shared ones.

    >>> import amortppl as ap, numpy as np, numpyro, numpyro.distributions as dist
    >>> def model(rows, y=None):
    ...     mean = numpyro.sample("mean", dist.Normal(0, 1))
    ...     with numpyro.plate("row", rows):
    ...         effect = numpyro.sample("effect", dist.Normal(mean, 1))
    ...         numpyro.sample("y", dist.Normal(effect, 1), obs=y)
    >>> guide = ap.train(ap.Task(model, rows=(4, 8)), "laplace", progress=False)
    >>> effects = guide.local({"mean": np.zeros(500)}, {"y": [2.0, -2.0]})
    >>> effects["posterior"]["effect"].mean(("chain", "draw")).values.round().tolist()
    [1.0, -1.0]
    >>> moments = guide.local_moments({"mean": np.zeros(500)}, {"y": [2.0, -2.0]})
    >>> moments["mean"]["effect"].values.round(2).tolist()
    [1.0, -1.0]
    >>> (2 * moments["sd"]["effect"].values ** 2).round(2).tolist()  # the variance is 1 / 2
    [1.0, 1.0]
    """

    def local(
        self, draws: Any, data: Any, seed: int = 0, *, columns: Columns | None = None
    ) -> "xarray.DataTree":
        """Draws of the latents of which every row has its own, given draws of the shared ones.

        u_i ~ p(u_i | y_i, x_i, theta_s) for row i and draw s.

        Args:
            draws: what `infer` returned (or its `posterior`), or a dict of arrays by shared latent.
            data: rows with their observations, of the dataset inferred from or others.
            seed: the seed of the draws.
            columns: for DataFrames, the columns of each argument.

        Returns:
            A DataTree whose `posterior` has the sites with one value per row, with the dimensions
            (chain, draw, row).

        Raises:
            DataError: the task has no such latents, the draws lack a shared one, or the data do not
                fit.
        """
        expect_seed(seed)
        return draw_local(self, draws, data, seed, columns)

    def local_moments(
        self, draws: Any, data: Any, seed: int = 0, *, columns: Columns | None = None
    ) -> "xarray.DataTree":
        """Mean and sd of the latents of which every row, or every group, has its own.

        They are those of `local` without its draws, by quadrature, in chunks of rows: of a million
        rows too. Arguments and errors are those of `local`; `seed` matters where a row has more
        than three numbers.

        Returns:
            A DataTree with the groups `mean`, `sd` and `error`, each with the sites that have one
            value per row. `error` is the standard error of the mean where draws of the shared
            latents were left out, which they are of many rows.

        Raises:
            DataError: as of `local`; or rows follow one another, as the states of a series do.
        """
        expect_seed(seed)
        return moments_of_local(self, draws, data, seed, columns)
