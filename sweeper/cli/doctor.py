"""`sweeper doctor`: what this machine has and lacks, and, with `--train`, what its device trains."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

import typer

from sweeper.cli.options import CsvOption, JsonOption, console, printed, refuse_both

app = typer.Typer()


@app.command()
def doctor(
    train: Annotated[
        bool, typer.Option("--train", help="Train ten steps of every network and loss, and say what is refused.")
    ] = False,
    device: Annotated[
        Literal["gpu", "cpu"] | None, typer.Option("--device", help="Where --train trains; the GPU if there is one.")
    ] = None,
    only: Annotated[
        int | None, typer.Option("--sample", min=1, help="Try only so many of them, spread evenly.")
    ] = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show what this machine has, what is missing, and how to get it.

    Example: sweeper doctor --train --sample 8
    """
    refuse_both(as_json=as_json, as_csv=as_csv)
    if not train and (device is not None or only is not None):
        raise typer.BadParameter("--device and --sample need --train")
    sound = _train(device, only, as_json=as_json, as_csv=as_csv) if train else _examine(as_json=as_json, as_csv=as_csv)
    if not sound:
        raise typer.Exit(1)


def _examine(*, as_json: bool, as_csv: bool) -> bool:
    from sweeper.doctor import examine
    from sweeper.settings import load_settings

    findings = examine(load_settings())
    rows = [asdict(finding) for finding in findings]
    for finding in () if printed(rows, rows, as_json=as_json, as_csv=as_csv) else findings:
        _say(finding.line())
    return all(finding.state != "bad" for finding in findings)


def _train(device: Literal["gpu", "cpu"] | None, only: int | None, *, as_json: bool, as_csv: bool) -> bool:
    from sweeper.doctor_training import Row, cases, header, line, remarks, sample, try_cases

    chosen = cases() if only is None else sample(cases(), only)
    rows: list[Row] = []
    for row in try_cases(chosen, device):
        if not as_json and not as_csv:
            if not rows:
                _say(header())
            _say(line(row))
        rows.append(row)
    flat = [row.to_dict() for row in rows]
    if not printed(flat, flat, as_json=as_json, as_csv=as_csv):
        for remark in remarks(rows):
            _say(remark)
    return all(row.tried.state == "ok" for row in rows)


def _say(text: str) -> None:
    console().print(text, markup=False, highlight=False, soft_wrap=True)
