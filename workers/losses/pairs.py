"""A distance for each pair of classes: a vector of the pairs (0,1), (0,2), …, (1,2), …, or a whole matrix. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from workers.errors import ParameterError


def classes_of(pairs: int) -> int | None:
    """How many classes have so many pairs, or None."""
    classes = (1 + math.isqrt(1 + 8 * pairs)) // 2
    return classes if pairs > 0 and classes * (classes - 1) // 2 == pairs else None


def matrix_of(distances: float | Sequence[float], classes: int) -> list[list[float]]:
    """The symmetric matrix of a vector of pairs, or of one distance for all of them.

    Raises:
        ParameterError: the vector is of another number of classes.
    """
    pairs = classes * (classes - 1) // 2
    values = [float(distances)] * pairs if isinstance(distances, int | float) else [float(d) for d in distances]
    if len(values) != pairs:
        raise ParameterError(f"{len(values)} distances for {classes} classes, which have {pairs} pairs")
    matrix = [[0.0] * classes for _ in range(classes)]
    each = iter(values)
    for row in range(classes):
        for column in range(row + 1, classes):
            matrix[row][column] = matrix[column][row] = next(each)
    return matrix


def vector_of(where: str, rows: Sequence[Sequence[float]]) -> list[float]:
    """The vector of pairs of a whole matrix.

    Raises:
        ParameterError: it is not square, not symmetric, or its diagonal is not 0.
    """
    size = len(rows)
    if any(len(row) != size for row in rows):
        raise ParameterError(f"{where} has {size} rows, of which one has another number of entries; give a square")
    for row in range(size):
        if rows[row][row] != 0:
            raise ParameterError(
                f"{where}: a class has the distance {rows[row][row]:g} to itself, in row {row}; give 0"
            )
        for column in range(row):
            if rows[row][column] != rows[column][row]:
                raise ParameterError(
                    f"{where}: classes {column} and {row} have the distances {rows[column][row]:g} and "
                    f"{rows[row][column]:g}; a distance is the same both ways"
                )
    return [rows[row][column] for row in range(size) for column in range(row + 1, size)]


def check_metric(where: str, distances: float | str | tuple[float, ...]) -> None:
    """Refuses distances that are none.

    Raises:
        ParameterError: a class is nearer over a third one, or farther from another one than from the background.
    """
    if not isinstance(distances, tuple):
        return
    classes = classes_of(len(distances)) or 0
    matrix = matrix_of(distances, classes)
    for a in range(classes):
        for b in range(classes):
            for over in range(classes):
                if matrix[a][b] > matrix[a][over] + matrix[over][b] + 1e-12:
                    raise ParameterError(
                        f"{where} is no metric: classes {a} and {b} are {matrix[a][b]:g} apart, but only "
                        f"{matrix[a][over] + matrix[over][b]:g} over class {over}"
                    )
            if a and b and matrix[a][b] > matrix[a][0]:
                raise ParameterError(
                    f"{where}: class {a} is {matrix[a][b]:g} from class {b}, farther than from the background "
                    f"({matrix[a][0]:g}); the background must be the farthest"
                )
