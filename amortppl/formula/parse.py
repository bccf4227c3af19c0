"""A formula's text taken apart by formulae's own parser, with errors that mark the place.

    outcome ~ common terms + (varying terms | factor)

formulae (Capretto 2020, "formulae: formulas for mixed-effects models in Python") follows lme4 and
patsy. Two marks are read here: `(x || g)` for effects of groups without correlation, and what
stands before the `~`, which `amortppl.formula.outcome` reads.
"""

from typing import Any, NamedTuple

from amortppl.errors import DataError

OPEN, CLOSE = "([{", ")]}"

CLOSES = dict(zip(OPEN, CLOSE, strict=True))
"""What closes each opening bracket."""


class Block(NamedTuple):
    """Effects of groups that vary together: terms of one factor in one pair of brackets.

    Attributes:
        factor: the name of the grouping factor, as `school` or `school:class`.
        terms: names of its terms as formulae has them, `1|school`, `age|school`.
        correlated: whether they are correlated, which `||` says they are not.
    """

    factor: str
    terms: tuple[str, ...]
    correlated: bool


class Parsed(NamedTuple):
    """A formula in parts.

    Attributes:
        text: as it was written.
        outcome: what stands before the `~`.
        predictor: what stands behind it, as formulae reads it.
        blocks: the effects of groups.
    """

    text: str
    outcome: str
    predictor: str
    blocks: tuple[Block, ...]


def parse(text: str) -> Parsed:
    """Takes a formula apart.

    >>> parse("y ~ x + (1 + x | g)").blocks
    (Block(factor='g', terms=('1|g', 'x|g'), correlated=True),)

    Raises:
        DataError: it does not parse; the place is marked.
    """
    if not isinstance(text, str) or not text.strip():
        raise DataError(f"formula: expected text like 'y ~ x + (1 | g)', got {text!r}")
    outcome, tilde, predictor = text.partition("~")
    if not tilde:
        raise _error(text, len(text), "there is no '~' between the outcome and its predictors")
    if not outcome.strip():
        raise _error(text, text.index("~"), "there is no outcome before the '~'")
    if "~" in predictor:
        raise _error(text, text.index("~", len(outcome) + 1), "there is a second '~'")
    start = len(outcome) + 1
    _expect_closed(text)
    plain, separate = _read_double_bars(predictor)
    tree = _tree(text, plain, start)
    return Parsed(text.strip(), outcome.strip(), plain.strip(), _blocks(tree, separate))


def _read_double_bars(predictor: str) -> tuple[str, list[bool]]:
    """The predictor with `|` for `||` (and a space), and for each bar whether there were two."""
    separate, plain, place = [], "", 0
    while place < len(predictor):
        double = predictor.startswith("||", place)
        if predictor[place] == "|":
            separate.append(double)
        plain += "| " if double else predictor[place]
        place += 2 if double else 1
    return plain, separate


def _expect_closed(text: str) -> None:
    """Refuses brackets that are not closed, or closed and never opened."""
    opened: list[int] = []
    for place, sign in enumerate(text):
        if sign in OPEN:
            opened.append(place)
        elif sign in CLOSE and not (opened and CLOSES[text[opened.pop()]] == sign):
            raise _error(text, place, f"this {sign!r} closes nothing")
    if opened:
        raise _error(text, opened[-1], f"this {text[opened[-1]]!r} is never closed")


def _tree(text: str, predictor: str, start: int) -> Any:
    """The syntax tree of the predictor.

    Args:
        text: the whole formula, for messages.
        start: where in it the predictor begins.
    """
    from formulae.parser import ParseError, Parser
    from formulae.scanner import ScanError, Scanner

    if not predictor.strip():
        raise _error(text, len(text), "there is nothing behind the '~'; write 1 for an intercept")
    try:
        tokens = Scanner(predictor).scan(add_intercept=False)
    except ScanError as error:
        place = _unreadable(predictor)
        hint = "; a square is {x**2}" if predictor[place : place + 1] == "^" else ""
        raise _error(text, start + place, _lower(error) + hint) from error
    parser = Parser(tokens)
    try:
        tree = parser.parse()
    except ParseError as error:
        raise _error(
            text, start + _place(predictor, tokens, parser.current), _lower(error)
        ) from error
    if not parser.at_end():
        place = start + _place(predictor, tokens, parser.current)
        raise _error(text, place, "an operator like + is missing before this")
    return tree


def _lower(error: Exception) -> str:
    message = str(error).rstrip(". ")
    if message.startswith("Don't know how to parse"):
        return "a term is missing here"
    return message[:1].lower() + message[1:]


def _unreadable(predictor: str) -> int:
    """The place of the first sign that the scanner does not know."""
    from formulae.scanner import ScanError, Scanner

    for end in range(1, len(predictor) + 1):
        try:
            Scanner(predictor[:end]).scan(add_intercept=False)
        except ScanError as error:
            if str(error).startswith("Unexpected"):
                return end - 1
    return 0


def _place(predictor: str, tokens: list[Any], number: int) -> int:
    """Where a token stands in the text."""
    place = 0
    for token in tokens[:number]:
        place = predictor.find(token.lexeme, place) + len(token.lexeme)
    rest = predictor[place:]
    return place + len(rest) - len(rest.lstrip())


def _blocks(tree: Any, separate: list[bool]) -> tuple[Block, ...]:
    from formulae.resolver import Resolver
    from formulae.terms.terms import Model

    blocks: list[Block] = []
    seen: set[str] = set()
    for node, apart in zip(_bars(tree), separate, strict=True):
        given = Resolver(node).resolve()
        terms = given.group_terms if isinstance(given, Model) else [given]
        by_factor: dict[str, list[str]] = {}
        for term in terms:
            if term.name not in seen:
                by_factor.setdefault(term.factor.name, []).append(term.name)
                seen.add(term.name)
        blocks += [Block(f, tuple(names), not apart) for f, names in by_factor.items()]
    return tuple(blocks)


def _bars(node: Any) -> list[Any]:
    """The subtrees `terms | factor`, in the order of the text."""
    kind = getattr(getattr(node, "operator", None), "kind", "")
    if kind == "PIPE":
        return [node]
    below = [getattr(node, n, None) for n in ("left", "right", "expression")]
    return [bar for each in below if each is not None for bar in _bars(each)]


def _error(text: str, place: int, what: str) -> DataError:
    """An error with the formula and a mark below the place."""
    return DataError(f"formula: {what}\n    {text}\n    {' ' * place}^")
