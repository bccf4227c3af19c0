"""Several formulas after one option: `--compare "y ~ 1" "y ~ x"`."""

from typing import Any

from typer.core import TyperCommand

OPTION = "--compare"


class SeveralFormulas(TyperCommand):
    """A command whose `--compare` takes all the formulas that follow it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Splits the arguments, with the option named before each formula."""
        return super().parse_args(ctx, repeat_option(args))


def repeat_option(args: list[str]) -> list[str]:
    """The words of a command line with the option before each formula that follows it.

    >>> repeat_option(["y ~ x", "data.csv", "--compare", "y ~ 1", "y ~ z", "--seed", "1"])
    ['y ~ x', 'data.csv', '--compare', 'y ~ 1', '--compare', 'y ~ z', '--seed', '1']
    """
    words: list[str] = []
    for word in args:
        after_another = len(words) > 1 and words[-2] == OPTION
        if after_another and "~" in word and not word.startswith("-"):
            words.append(OPTION)
        words.append(word)
    return words
