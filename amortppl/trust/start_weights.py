"""k-hat of draws, and of what they begin at where a method draws from the model's own density."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array

from amortppl.data.dataset import Dataset
from amortppl.method import Method
from amortppl.posterior.draws import Drawn, states
from amortppl.posterior.padding import chunks
from amortppl.runtime.batched_map import map_datasets
from amortppl.runtime.compilation import Compiled
from amortppl.training.trained import TrainedMethod
from amortppl.trust import psis


def check_weights(guide: TrainedMethod, datasets: Sequence[Dataset], drawn: Drawn) -> psis.Check:
    """PSIS of draws; k-hat is that of `Method.log_weights` where a method has any."""
    check = psis.check(np.asarray(drawn.log_joint), np.asarray(drawn.log_guide))
    if type(guide.method).log_weights is Method.log_weights:
        return check
    khat = np.array(check.khat)
    for chunk in chunks(guide.task, datasets):
        weights = _log_weights(guide.method, states(guide.method, chunk.batch))
        khat[chunk.places] = psis.khat_of(np.asarray(chunk.pick(weights), np.float64))
    return check._replace(khat=khat)


@Compiled
def _log_weights(method: Method, values: Array) -> Array:
    return map_datasets(method.log_weights, values)
