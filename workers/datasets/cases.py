"""One case from its files to the network's grid, as a preparation and a check both do it."""

from __future__ import annotations

from workers.datasets.preprocessing import IGNORED, ConstantImageError, Preprocessed, preprocess
from workers.datasets.reader import Case, CaseFiles, ExcludedCaseError, Reader
from workers.errors import DataError


def read_and_preprocess(reader: Reader, files: CaseFiles) -> tuple[Case, Preprocessed]:
    """A case as its files hold it, and on the network's grid. The arrays of the first may share memory with the second.

    Raises:
        ExcludedCaseError: the data set's rules leave it out, or it is a slice or block in which nothing is to be seen.
        DataError: a file is damaged or not what it should be. The message names the file, and the part of it.
    """
    try:
        case = reader.read_case(files)
        ready = preprocess(
            case.image,
            case.label,
            case.spacing,
            case.affine,
            reader.preprocessing,
            where=files.where,
            channels=[str(path) for path in files.images] if len(files.images) == case.image.shape[-1] else (),
            part=bool(files.part),
        )
    except ConstantImageError as error:
        if not files.part:
            raise
        marked = int(((case.label > 0) & (case.label != IGNORED)).sum())
        raise ExcludedCaseError(
            error.reason
            + (f", though its mask marks {marked} {'pixel' if marked == 1 else 'pixels'}" if marked else "")
        ) from error
    except DataError as error:
        if not files.part or files.id in str(error):
            raise
        raise DataError(f"case {files.id!r}: {error}") from error
    return case, ready
