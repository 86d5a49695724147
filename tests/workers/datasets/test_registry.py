from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from workers.datasets import Case, CaseFiles, Reader, get_reader, names, register
from workers.datasets.prepared import prepare
from workers.datasets.reader import About
from workers.datasets.registry import READERS
from workers.errors import InputError, ParameterError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class Arrays(Reader):
    """A whole new data set, as a user would write it."""

    about = About("arrays", "none", "none", "NAME.npy")
    name: str = "arrays"
    threshold: float = 1.0

    classes = ("background", "high")
    dimensions = 2

    def find_cases(self, source: Path) -> list[CaseFiles]:
        return [CaseFiles(path.stem, (path,), path) for path in sorted(source.glob("*.npy"))]

    def read_case(self, case: CaseFiles) -> Case:
        values = np.load(case.images[0]).astype(np.float32)
        return Case(values[..., None], (values > self.threshold).astype(np.uint8), (1.0, 1.0))


@pytest.mark.slow
def test_a_new_data_set_is_one_class_and_one_line(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    before = dict(READERS)
    request.addfinalizer(lambda: READERS.replace(before))
    register("arrays", Arrays)
    register("arrays", Arrays)  # again is no harm
    assert "arrays" in names()
    (tmp_path / "source").mkdir()
    for i in range(3):
        np.save(tmp_path / "source" / f"{i}.npy", np.random.default_rng(i).normal(size=(8, 8)))
    low = prepare(get_reader("arrays"), tmp_path / "source", tmp_path)
    high = prepare(get_reader("arrays", {"threshold": 2}), tmp_path / "source", tmp_path, processes=4)
    assert low.key != high.key
    assert sum(case.voxels[1] for case in low.cases) > sum(case.voxels[1] for case in high.cases)
    with pytest.raises(InputError, match="a data set reader named 'arrays' is registered already"):
        register("arrays", type("Other", (Arrays,), {}))


def test_a_reader_that_no_other_process_could_import_is_used_in_this_one(tmp_path: Path) -> None:
    """As the class of a plug-in file is, which was executed and not imported."""
    module = types.ModuleType("sweeper_plugin_0123")
    sys.modules[module.__name__] = module
    hidden = type("Hidden", (Arrays,), {"__module__": module.__name__})
    module.__dict__["Hidden"] = hidden
    module.__file__ = __file__
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).normal(size=(8, 8)))
    assert len(prepare(hidden(), tmp_path, tmp_path / "root", processes=2).cases) == 3
    del sys.modules[module.__name__]


def test_an_unknown_reader_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="'kits91', did you mean 'kits19'"):
        get_reader("kits91")


@pytest.mark.parametrize(
    ("reader", "options", "message"),
    [
        ("drive", {"sise": [8, 8]}, "no option 'sise', did you mean 'size'"),
        ("drive", {"about": 1}, "no option 'about'"),
        ("drive", {"size": [8]}, "option size"),
        ("drive", {"size": [8, 0]}, "size = "),
        ("drive", {"spacing": [1, 1, 1]}, "spacing is for volumes"),
        ("kits19", {"size": [8, 8]}, "size is for images"),
        ("drive", {"size": "large"}, "option size.*given: 'large'"),
        ("kits19", {"spacing": [1, 1]}, "option spacing"),
        ("kits19", {"clip": [300, -79]}, "clip = "),
        ("kits19", {"order": 2}, "option order"),
        ("image-folder", {"classes": ["background"]}, "at least two different names"),
        ("image-folder", {"label_map": {"255": 2}}, "class indices run from 0 to 1"),
        ("image-folder", {"group": "("}, "not a regular expression"),
        ("image-folder", {"group": "abc"}, "one pair of parentheses"),
        ("image-folder", {"channels": 0}, "channels = 0"),
        ("nifti-folder", {"slices": "oblique"}, "option slices"),
        ("nifti-folder", {"slices": "axial", "blocks": [1, 1, 2]}, "choose one"),
        ("nifti-folder", {"slices": "axial", "spacing": [1, 1, 1]}, "spacing is for volumes"),
        ("nifti-folder", {"blocks": [1, 0, 2]}, "whole numbers from 1"),
        ("nifti-folder", {"nonzero": 2}, "nonzero = 2: a class index from 1 to 1"),
        ("nifti-folder", {"label_map": {"-1": 1}}, "they run from 0 to"),
    ],
)
def test_wrong_options_are_refused(reader: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        get_reader(reader, options)


def test_options_as_toml_gives_them() -> None:
    reader = get_reader("kits19", {"name": "mine", "spacing": [3, 2, 2], "clip": []})
    assert reader.name == "mine"
    assert reader.preprocessing.to_dict() == {
        "size": None, "spacing": (3.0, 2.0, 2.0), "clip": None, "order": 3, "mask_resampling": "nearest",
        "channelwise": False,
    }  # fmt: skip
    with pytest.raises(ParameterError, match=r"mask_resampling.*'nearest' or 'area'"):
        get_reader("kits19", {"mask_resampling": "cubic"})
    folder = get_reader("image-folder", {"label_map": {"0": 0, "255": 1}, "classes": ["background", "cell"]})
    assert folder.options["label_map"] == {0: 0, 255: 1}
