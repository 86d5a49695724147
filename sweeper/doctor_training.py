"""Whether the device of this machine trains what we have: every network, every loss, the precisions and XLA."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal

from sweeper.errors import SettingsError
from sweeper.run.devices import local_gpus
from trials.input_wait import ADVICE, INPUT_BOUND
from trials.spec import DataSpec, LossSpec, ModelSpec, TrainingSpec, TrialSpec
from workers import losses, networks
from workers.process.tried_steps import CLASSES, Tried, try_steps

Device = Literal["cpu", "gpu"]
Dimensions = Literal[2, 3]

STEPS = 10
SIZES: dict[Dimensions, tuple[int, ...]] = {2: (64, 64), 3: (24, 24, 24)}
NETWORK, LOSS = "unet", "dice"
PRECISIONS: tuple[Literal["mixed_float16", "mixed_bfloat16"], ...] = ("mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True, slots=True)
class Case:
    """What is tried: a spec that differs from the plain one in what its name says."""

    name: str
    dimensions: Dimensions
    spec: TrialSpec


@dataclass(frozen=True, slots=True)
class Row:
    """A case and what came of it."""

    case: Case
    tried: Tried

    def to_dict(self) -> dict[str, object]:
        """Flat, for JSON and CSV."""
        return {"what": self.case.name, "dimensions": self.case.dimensions, **asdict(self.tried)}


def cases() -> list[Case]:
    """Each network with one loss, each loss with one network, in 2D and 3D; the precisions and XLA on a few."""
    found: list[Case] = []
    for dimensions in SIZES:
        fitting = [name for name in networks.names() if dimensions in networks.definition(name).dimensions]
        found += [_case(f"network {name}", dimensions, network=name) for name in fitting]
        found += [
            _case(f"precision {precision}", dimensions, training=TrainingSpec(precision=precision))
            for precision in PRECISIONS
        ]
        found += [_case(f"XLA, {name}", dimensions, network=name, training=TrainingSpec(xla=True)) for name in fitting]
        found += [_case(f"loss {name}", dimensions, loss=name) for name in losses.names()]
    return found


def sample(of: Sequence[Case], count: int) -> list[Case]:
    """So many of the cases, spread evenly, in their order."""
    count = min(count, len(of))
    return [of[place * len(of) // count] for place in range(count)]


def try_cases(of: Sequence[Case], device: Device | None = None) -> Iterator[Row]:
    """Tries each in a process of its own, and gives them in their order: one at a time on a GPU, one for each two cores
    on the CPU.

    Raises:
        SettingsError: there is no GPU to try.
    """
    chosen: Device = device or ("gpu" if local_gpus() else "cpu")
    if chosen == "gpu" and not local_gpus():
        raise SettingsError("this machine has no NVIDIA GPU, or CUDA_VISIBLE_DEVICES hides it; try --device cpu")

    def tried(case: Case) -> Row:
        return Row(case, try_steps(case.spec, SIZES[case.dimensions], STEPS, device=chosen))

    with ThreadPoolExecutor(1 if chosen == "gpu" else max(len(os.sched_getaffinity(0)) // 2, 1)) as pool:
        yield from pool.map(tried, of)


def header() -> str:
    """Of the lines below."""
    return f"{'':34}{'':9}{'first step':>11}{'a step':>10}{'memory':>12}{'waits for input':>17}"


def line(row: Row) -> str:
    """A case for a person."""
    tried, what = row.tried, f"{_what(row):34}{row.tried.state:9}"
    if tried.state != "ok":
        return what.rstrip()
    first, step, memory, waited = (
        value or 0.0 for value in (tried.first_seconds, tried.step_seconds, tried.memory_mib, tried.waited)
    )
    told = f"{what}{first:>9.1f} s{1000 * step:>7.0f} ms{memory:>8,.0f} MiB{waited:>17.0%}"
    return told + ("  input-bound" if waited > INPUT_BOUND else "")


def remarks(rows: Sequence[Row]) -> Iterator[str]:
    """What a person does about it, below the table."""
    for row in rows:
        if row.tried.error:
            yield f"{_what(row)}: {row.tried.error}"
    slow = sum(row.tried.waited is not None and row.tried.waited > INPUT_BOUND for row in rows)
    if slow:
        yield (f"{slow} waited for their batches for more than {INPUT_BOUND:.0%} of the time (input-bound): {ADVICE}")


def _what(row: Row) -> str:
    return f"{row.case.name}, {row.case.dimensions}D"


def _case(
    name: str, dimensions: Dimensions, *, network: str = NETWORK, loss: str = LOSS, training: TrainingSpec | None = None
) -> Case:
    spec = TrialSpec(
        data=DataSpec("made-up", tuple(f"class {number}" for number in range(CLASSES)), dimensions),
        loss=LossSpec(loss, losses.resolve_parameters(loss, {})),
        model=ModelSpec(network, base_filters=8, depth=2),
        training=training or TrainingSpec(),
    )
    return Case(name, dimensions, spec)
