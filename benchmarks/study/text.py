"""Numbers and tables as the page writes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence

NOT_YET = "*Not run yet.*"
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def number(value: float, digits: int = 3) -> str:
    """A number with so many decimals; a dash where it is not known."""
    return "–" if not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def signed(value: float, digits: int = 3) -> str:
    """The same with its sign; what rounds to nothing has none."""
    if not math.isfinite(value):
        return "–"
    shown = f"{value:+.{digits}f}"
    return shown[1:] if float(shown) == 0 else shown.replace("-", "−")


def interval(low: float, high: float, digits: int = 3) -> str:
    """`−0.010 to +0.020`; a dash where an end is not known."""
    known = math.isfinite(low) and math.isfinite(high)
    return f"{signed(low, digits)} to {signed(high, digits)}" if known else "–"


def percent(share: float, digits: int = 0) -> str:
    """A share as a percentage."""
    return "–" if not math.isfinite(share) else f"{100 * share:.{digits}f}%"


def small(p: float) -> str:
    """A p value."""
    return "–" if not math.isfinite(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; `NOT_YET` without rows."""
    body = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    if not body:
        return NOT_YET
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body])


def listing(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "none"


def filled(template: str, values: Mapping[str, str]) -> str:
    """The template with every `{{name}}` replaced.

    Raises:
        KeyError: the template names what there is no value for, or a value has no place.
    """
    places = set(_PLACE.findall(template))
    if places != set(values):
        raise KeyError(f"in the template alone: {places - set(values)}; in the values alone: {set(values) - places}")
    return _PLACE.sub(lambda match: values[match[1]], template)
