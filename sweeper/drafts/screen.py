"""What `sweeper init` says of a folder. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from sweeper.drafts import budget as budgets
from sweeper.drafts.data_set import DataSet
from sweeper.drafts.fingerprint import Fingerprint
from sweeper.drafts.rules import metrics_of
from sweeper.drafts.text import shown
from sweeper.drafts.values import Options
from sweeper.run.devices import Devices
from sweeper.units import duration


def screen(
    data: DataSet,
    found: Fingerprint,
    fitted: budgets.Fit,
    losses: Sequence[str],
    budget: float | None,
    devices: Devices,
    power: str,
) -> list[str]:
    """What was found and what follows from it, on one screen.

    Args:
        data: the data set.
        found: what was measured.
        fitted: the sizes, network and repeats.
        losses: their names.
        budget: seconds that were allowed; None for no limit.
        devices: what the time is predicted for.
        power: which difference the study would find.
    """
    sizes = fitted.sizes
    ranges = " × ".join(f"{low}" if low == high else f"{low}–{high}" for low, high in found.shapes)
    lines = [f"{data.name}: {data.what}, {found.cases} cases ({found.read} were measured)"]
    for key in ("images", "masks", "labels"):
        if key in data.options:
            value = data.options[key]
            lines.append(f"  {key}: {value if isinstance(value, str) else ', '.join(_texts(value))}")
    lines.append(f"  size: {ranges}, {found.channels} channel{'s' if found.channels > 1 else ''}")
    if found.spacings:
        spacings = Counter(tuple(round(side, 3) for side in one) for one in found.spacings)
        lines.append(
            f"  spacing: {shown(spacings.most_common(1)[0][0])} mm" + (" and others" if len(spacings) > 1 else "")
        )
    lines.append(f"  intensities: {found.intensities[0]:g} to {found.intensities[1]:g}")
    for name, one in found.structures.items():
        shape = "long and thin" if one.thin else "compact"
        lines.append(
            f"  {name}: {100 * one.share:.2f}% of an image, {one.count:g} structures, {shape}, about "
            f"{one.thickness:.0f} pixels thick"
        )
    if data.patients:
        lines.append(f"  patients: {data.patients}")
    lines.append(f"  split: {_split_words(data.split)}")
    lines.append("chosen")
    what = f"patches of {shown(sizes.patch)}" if sizes.patch else f"pictures of {shown(sizes.size or found.shape)}"
    if sizes.spacing:
        what += f" at {shown(sizes.spacing)} mm ({sizes.spaced})"
    lines.append(f"  {what}: {sizes.why}")
    epochs = "epochs of the paper (early stopping)" if fitted.epochs is None else f"{fitted.epochs} epochs"
    lines.append(f"  U-Net of depth {sizes.depth} with {fitted.filters} filters, {epochs}")
    lines.append(f"  {len(losses)} losses ({', '.join(losses)}) × {fitted.repeats} repeats; {power}")
    lines.append(f"  metrics: {', '.join(name for name, _ in metrics_of(found))}")
    lines.append(f"  predicted time: {duration(fitted.seconds)} on {devices.where}")
    if budget is not None and not fitted.fits:
        lines.append(f"  nothing fits into {duration(budget)}: this is the smallest study")
    lines += [f"unsure: {note}" for note in data.notes]
    return lines


def _texts(value: Mapping[str, str] | Sequence[str]) -> list[str]:
    return [f"{key} = {one}" for key, one in value.items()] if isinstance(value, Mapping) else list(value)


def _split_words(split: Options) -> str:
    if split.get("folders"):
        return "that of the folders train, val and test"
    if "file" in split:
        folds = f", fold {split['fold']} of {split['folds']}" if "folds" in split else ""
        return f"that of {split['file']}{folds}"
    together = ", patients stay together" if split.get("grouped") else ""
    return f"at random, 20% test, 16% validation{together}"
