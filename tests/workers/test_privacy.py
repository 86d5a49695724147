from __future__ import annotations

from pathlib import Path

import pytest

from workers.privacy import without_folders

ROOT = Path("/data/Jane Doe/prepared")
HOME = "/home/Jane Doe"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/jdoe/data/drive/x.tif: damaged", "…/x.tif: damaged"),
        ("No such file: '/srv/patients/doe_jane/ct.nii.gz'", "No such file: '…/ct.nii.gz'"),
        (f"{ROOT}/nuclei-0f3a: no split", "…/nuclei-0f3a: no split"),
        (f"{ROOT} is gone", "…/prepared is gone"),
        (f"{HOME}/a b/c", "…/a b/c"),
        ("in /a/b/, /c/d/e.", "in …/b, …/e."),
        (r"C:\Users\doe\x.png: damaged", "…/x.png: damaged"),
        ("images/p0.png has 24×40 pixels, 3/4 of it and/or none, γ = 1/2", None),
        ("see https://example.org/a/b", None),
        ("the loss became nan in epoch 3", None),
        ("/tmp", None),
    ],
)
def test_folders_are_cut_off_and_all_else_stays(
    text: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", HOME)
    assert without_folders(text, ROOT) == (text if expected is None else expected)
