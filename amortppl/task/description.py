"""What a task consists of, in words: data, what all rows share, what each has of its own."""

from math import prod

from amortppl.errors import quoted
from amortppl.task.abstract import AbstractTask
from amortppl.task.several_groups import Places
from amortppl.task.tracing import Site


def describe_task(task: AbstractTask) -> str:
    """The structure of a task as text; what `Task.describe` returns.

    Example:
        >>> import amortppl as ap, numpyro, numpyro.distributions as dist
        >>> def schools(school, n_school, y=None):
        ...     mean = numpyro.sample("mean", dist.Normal(0, 1))
        ...     with numpyro.plate("schools", n_school):
        ...         effect = numpyro.sample("effect", dist.Normal(mean, 1))
        ...     with numpyro.plate("row", school.shape[0]):
        ...         numpyro.sample("y", dist.Normal(effect[school], 1), obs=y)
        >>> print(ap.Task(schools, rows=(1, 4), groups={"school": (4, 8)}).describe())
        schools: 4 to 8 groups of 'school', 1 to 4 rows in each
          inputs
            school: the label of each row's group
          latents that all schools share
            mean ~ Normal
          latents of each school (integrated out, by quadrature over 1 number)
            effect ~ Normal
          observed
            y ~ Normal
    """
    unit = task.grouping.name if task.grouping else "row"
    parts = [f"{task.name}: {_sizes(task)}"]
    several = [*task.several.groupings] if task.several else []
    labels = [f"{n}: the label of each row's {n}" for n in several]
    others = [_argument(task, n) for n in task.inputs if n not in several]
    parts += _section("inputs", [*labels, *others])
    of_group = {n: _grouping_of(task, task.sites[n]) for n in task.latents.names}
    shared = [_site(task.sites[n]) for n, own in of_group.items() if not own]
    parts += _section(f"latents that all {_plural(unit)} share", shared)
    for each in several:
        own = [_site(task.sites[n]) for n, name in of_group.items() if name == each]
        parts += _section(f"latents of each {each}", own)
    own = [_site(s, task.local.axes.get(n)) for n, s in task.local.sites.items()]
    how = "" if not own else f" (integrated out, {_rule(task)})"
    parts += _section(f"latents of each {unit}{how}", own)
    parts += _section("observed", [_observed(task, a, n) for a, n in task.observed.items()])
    parts += _section(
        "deterministic", [f"{n}{_shape(s.shape)}" for n, s in task.deterministic.items()]
    )
    return "\n".join(parts)


def _grouping_of(task: AbstractTask, site: Site) -> str | None:
    """Of several groupings the one whose groups each have their own value of a latent."""
    named = [
        task.several.axis_of(plate, site.shape[axis])
        for axis, plate in site.plates.items()
        if task.several and axis < len(site.shape)
    ]
    return next(filter(None, named), None)


def _sizes(task: AbstractTask) -> str:
    if task.several and task.rows:
        each = [_groups(own) for own in task.several.groupings.values()]
        return f"{_range(*task.rows)} rows of {' and '.join(each)}"
    if task.grouping:
        groups, rows = (_range(*r) for r in (task.grouping.groups, task.grouping.rows))
        return f"{groups} groups of {task.grouping.name!r}, {rows} rows in each"
    if task.rows is None:
        return "one block of data"
    if not task.ordered:
        return f"{_range(*task.rows)} rows"
    back = "" if task.memory is None else f", the density of each given the {task.memory} before it"
    return f"a series of {_range(*task.rows)} rows{back}"


def _groups(own: Places) -> str:
    inside = f" in each {own.outer}" if own.outer else ""
    return f"{_range(own.fewest, own.most)} groups of {own.name!r}{inside}"


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _rule(task: AbstractTask) -> str:
    size = task.local.size
    if task.local.in_turn:
        return f"{task.local.rule}, a state of {size} number{'s' * (size > 1)}"
    rule = "by quadrature" if size <= 3 else "by Laplace's approximation"
    return f"{rule} over {size} number{'s' * (size > 1)}"


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"  {title}", *(f"    {line}" for line in lines)] if lines else []


def _argument(task: AbstractTask, name: str) -> str:
    if task.grouping and name == task.grouping.name:
        return f"{name}: the label of each row's group"
    whole = task.grouping and name in task.grouping.arguments.whole
    each = f", one a {task.grouping.name}" if task.grouping and whole else ""
    return f"{name}{_shape(task.row_shapes[name])}{each}"


def _observed(task: AbstractTask, argument: str, name: str) -> str:
    fed = "" if argument == name else f", fed by {argument!r}"
    site = task.sites[name]
    return f"{name} ~ {site.distribution}{_shape(task.row_shapes[argument])}{fed}"


def _site(site: Site, row: int | None = None) -> str:
    shape = tuple(n for i, n in enumerate(site.shape) if i != row)
    plates = sorted({p for a, p in site.plates.items() if a != row})
    inside = f" in {quoted(plates)}" if plates else ""
    return f"{site.name} ~ {site.distribution}{_shape(shape)}{inside}"


def _shape(shape: tuple[int, ...]) -> str:
    return f" {list(shape)}" if prod(shape) != 1 or shape else ""


def _plural(unit: str) -> str:
    return unit if unit.endswith("s") else f"{unit}s"
