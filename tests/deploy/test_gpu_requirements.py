"""requirements/gpu.txt: the CUDA libraries in it are those that TensorFlow's own metadata ask for, on every Python."""

import re
from importlib.metadata import metadata

import pytest
from packaging.requirements import Requirement

from tests.compose_file import ROOT

PINNED = re.compile(r"^([\w.-]+(?:\[[\w,-]+\])?==[^\\\n]+?) \\$", re.MULTILINE)
LOCKED = {
    name: [Requirement(line) for line in PINNED.findall((ROOT / "requirements" / f"{name}.txt").read_text())]
    for name in ("cpu", "gpu")
}


def installed_by(lock: str, python: str) -> dict[str, str]:
    """The versions that a lock installs on Linux with a Python."""
    where = {"python_version": python, "python_full_version": f"{python}.9", "sys_platform": "linux",
             "platform_machine": "x86_64", "platform_system": "Linux", "os_name": "posix"}  # fmt: skip
    chosen = [one for one in LOCKED[lock] if one.marker is None or one.marker.evaluate(where)]
    assert len({one.name for one in chosen}) == len(chosen)
    return {one.name: next(iter(one.specifier)).version for one in chosen}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_cuda_libraries_are_those_that_tensorflow_asks_for(python: str) -> None:
    have = installed_by("gpu", python)
    tensorflow = metadata("tensorflow-cpu")
    assert have["tensorflow"] == tensorflow["Version"], "its metadata are read from the build for CPUs"
    asked = [Requirement(text) for text in tensorflow.get_all("Requires-Dist") or ()]
    libraries = [one for one in asked if one.marker and one.marker.evaluate({"extra": "and-cuda"})]
    own = [one for one in libraries if not one.marker or not one.marker.evaluate({"extra": ""})]
    assert len(own) >= 10
    for one in own:
        assert one.specifier.contains(have[one.name]), one
    assert {name for name in have if name.startswith("nvidia-")} == {one.name for one in own}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_what_is_not_tensorflow_is_the_same_with_and_without_a_gpu(python: str) -> None:
    gpu, cpu = installed_by("gpu", python), installed_by("cpu", python)
    assert cpu.keys() - gpu.keys() == {"tensorflow-cpu"}
    assert {name: gpu[name] for name in cpu.keys() & gpu.keys()} == {
        name: cpu[name] for name in cpu.keys() & gpu.keys()
    }
