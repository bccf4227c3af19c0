"""What every task is: arguments, rows, latents."""

from amortppl.errors import ModelError


def row_range(rows: tuple[int, int] | int | None) -> tuple[int, int] | None:
    """Smallest and largest number of rows; None for one block."""
    if rows is None:
        return None
    low, high = (rows, rows) if isinstance(rows, int) else rows
    if not 1 <= low <= high:
        raise ModelError(f"rows: expected 1 <= smallest <= largest, or None for one block; got ({low}, {high})")
    return int(low), int(high)
