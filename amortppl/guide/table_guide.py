"""A trained method asked for the posteriors of a table of many datasets."""

from typing import Any

from amortppl.data.columns import Columns
from amortppl.guide.options import ladder_of
from amortppl.guide.program_guide import ProgramGuide
from amortppl.many.table import map_table
from amortppl.runtime.arguments import expect_draws, expect_seed
from amortppl.trust.attempt import Ladder


class TableGuide(ProgramGuide):
    """Posteriors of many small datasets, a table in and a table out.

    Example:
        >>> import amortppl as ap
        >>> import pandas as pd
        >>> guide = ap.train(ap.model("gaussian_mean", rows=(1, 8)), "laplace", progress=False)
        >>> table = pd.DataFrame({"patient": ["a", "a", "b"], "y": [0.3, 0.5, -1.0]})
        >>> posteriors = guide.map_batches(table, by="patient", draws=100)
        >>> posteriors[["patient", "latent", "rows", "reliable"]].values.tolist()
        [['a', 'mean', 2, True], ['b', 'mean', 1, True]]
        >>> day_by_day = iter([table, table.assign(patient=["c", "c", "d"])])
        >>> [len(part) for part in guide.map_batches(day_by_day, by="patient", draws=100)]
        [4]
    """

    def map_batches(
        self,
        table: Any,
        by: str,
        draws: int = 1000,
        seed: int = 0,
        *,
        columns: Columns | None = None,
        trust: str | Ladder | None = None,
        output: str = "summary",
    ) -> Any:
        """Posteriors of all datasets of a table in long form, as a table.

        A plain function of a DataFrame, so Ray Data's `map_batches` and Dask's `map_partitions`
        take it. A dataset's draws depend on the seed and on its name alone: the answers of many
        workers are those of one. Each worker must get all rows of its datasets.

        Args:
            table: a DataFrame whose rows are observations; or an iterable of such, of any length,
                of which no more is in memory than 1,024 datasets. The rows of a dataset follow one
                another there, and may go on in the next DataFrame.
            by: the column that names the dataset of each row.
            draws: S, the number of independent draws for each dataset.
            seed: the seed of the draws.
            columns: the column or columns of each argument.
            trust: "ladder", or an `ap.Ladder`: datasets whose check fails climb it.
            output: "summary", one row for each dataset and entry of a latent: `mean`, `sd`, `q5`,
                `q25`, `q50`, `q75`, `q95`; or "draws", one row for each dataset and draw, with a
                column for each entry and `log_weight`.

        Returns:
            A DataFrame, or of an iterable an iterator of DataFrames. Beside the above it has the
            name of the dataset, its number of `rows`, `khat`, `reliable` and `source`, as `infer`
            has them in `sample_stats`, and `in_range`, whether its number of rows and its values
            lie in the range trained on.

        Raises:
            DataError: the data do not fit the task, or a dataset's name is missing.

        Warns:
            OutOfRangeWarning: datasets beyond the range trained on.
        """
        expect_draws(draws, self.task.latents.size)
        expect_seed(seed)
        climb = ladder_of(trust, {})
        return map_table(self, table, by, draws, seed, columns, climb, output)
