from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

WriteVolume = Callable[..., Path]


@pytest.fixture
def write_volume() -> WriteVolume:
    """Write an array as NIfTI and give its path."""

    def write(path: Path, values: Any, affine: Any = None, **header: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(np.asarray(values), np.eye(4) if affine is None else affine)
        for name, value in header.items():
            image.header[name] = value
        nibabel.save(image, path)
        return path

    return write


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Six pairs of an image and its binary mask, 24×32."""
    folder = tmp_path / "source"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)).save(folder / "images" / f"c{i}.png")
        Image.fromarray((rng.random((24, 32)) < 0.2).astype(np.uint8) * 255).save(folder / "masks" / f"c{i}.png")
    return folder
