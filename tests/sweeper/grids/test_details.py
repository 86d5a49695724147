"""What a sweep remembers beside its grid: every stored form is read, and the stored form does not change."""

from __future__ import annotations

from sweeper.grids.details import DatasetDetails, Groups, SplitSizes, SweepDetails

STORED = {
    "search": {
        "s/nuclei/unified_focal_asym": {
            "dataset": "nuclei",
            "loss": "unified_focal_asym",
            "settings": {
                "sampler": "tpe",
                "settings": {"multivariate": True},
                "trials": 5,
                "startup": 3,
                "seed": 0,
                "from_default": True,
                "pruner": "median",
                "pruner_settings": {},
                "optuna": "4.5.0",
            },
            "hash": "a" * 16,
            "points": 5,
            "domains": [
                {"name": "gamma", "low": 0.1, "high": 0.9, "log": False, "values": [0.1, 0.5, 0.9]},
                {"name": "learning_rate", "low": 0.001, "high": 0.1, "log": True, "values": None},
            ],
            "family": "f" * 16,
            "seeds": [0, 1],
        }
    },
    "data": {
        "nuclei": {
            "prepared": "a3cb54fde5ee71ec",
            "provenance": "real",
            "cases": 60,
            "split": {"train": 38, "validation": 10, "test": 12},
            "split_hash": "4f7ef3dcffcfdf21",
            "split_settings": {"seed": 0, "test": 0.2, "grouped": False, "folds": None},
            "excluded": [["n7", "damaged"]],
            "groups": {"known": 9, "shared": 4},
            "ungrouped": "",
            "images": 38,
            "voxels": 16384,
            "missing": [["validation", "tumour"]],
            "emptied": [["n3", "nucleus"]],
        }
    },
    "plugins": [
        {"reference": "/home/me/mine.py", "source": "b" * 16, "text": "x = 1\n", "names": {"datasets": ["cells"]}}
    ],
}


def test_what_is_stored_is_read_and_stored_the_same() -> None:
    details = SweepDetails.from_dict(STORED)
    assert details.to_dict() == STORED
    assert details.data["nuclei"].split == SplitSizes(38, 10, 12)
    assert details.data["nuclei"].groups == Groups(known=9, shared=4)
    assert details.data["nuclei"].missing == (("validation", "tumour"),)
    assert details.searches["s/nuclei/unified_focal_asym"].names == ("gamma", "learning_rate")
    assert details.plugins[0].names == {"datasets": ("cells",)}


def test_a_sweep_without_a_search_stores_none() -> None:
    assert SweepDetails().to_dict() == {"data": {}, "plugins": []}
    assert SweepDetails.from_dict({}) == SweepDetails()


def test_what_an_older_version_did_not_store_has_a_default() -> None:
    details = SweepDetails.from_dict({"data": {"nuclei": {"images": 38, "voxels": 16384}}, "later": 1})
    assert details.data == {"nuclei": DatasetDetails(images=38, voxels=16384)}
