"""Data sets: find the cases of a folder and read one of them. Imports no TensorFlow."""

from workers.datasets.image_folder import ImageFolder, Nuclei
from workers.datasets.reader import About, Case, CaseFiles, ExcludedCaseError, Reader, Table1Row
from workers.datasets.registry import get_reader, names, register

register("nuclei", Nuclei)
register("image-folder", ImageFolder)

__all__ = [
    "About",
    "Case",
    "CaseFiles",
    "ExcludedCaseError",
    "Reader",
    "Table1Row",
    "get_reader",
    "names",
    "register",
]
