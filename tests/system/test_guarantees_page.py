"""docs/guarantees.md: ten sentences, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()
SENTENCES = re.findall(r"^(\d+)\. (.*?)(?=^\d+\. |^## Faults)", PAGE, re.MULTILINE | re.DOTALL)


def test_there_are_ten_each_with_a_test() -> None:
    assert [int(number) for number, _ in SENTENCES] == list(range(1, 11))
    for number, text in SENTENCES:
        assert re.search(r"`tests/\S+::test_\w+`", text), number
        assert re.search(r"\bTried: \w", text), f"{number} does not say which faults it was tried against"


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE)
    assert len(named) == PAGE.count("::")
    for path, name in named:
        tree = ast.parse((ROOT / path).read_text())
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{path}::{name}"


PLACES = "tests/system/faults/test_places.py"
LOCAL, SERVERS = "tests/system/faults/test_local.py", "tests/system/faults/test_servers.py"
LEASES, DATABASE = "tests/storage/test_leases.py", "tests/storage/test_database.py"
KILL, PAUSE, FULL, QUOTA, REMOVED, CLOCK = (
    "SIGKILL", "SIGSTOP", "disk full", "quota, remount", "folder removed", "clock set back",
)  # fmt: skip
CANNOT_WRITE = f"{PLACES}::test_a_place_that_cannot_be_written_says_so_keeps_what_was_there_and_goes_on"
KILLED = f"{PLACES}::test_a_kill_in_the_middle_leaves_what_was_there_and_the_next_one_writes"
PAUSED = f"{PLACES}::test_one_that_is_paused_hides_nothing_and_ends_when_it_goes_on"
MADE_AGAIN = f"{PLACES}::test_what_was_removed_is_made_again"
TRIED = {
    ("database (SQLite)", KILL): f"{LOCAL}::test_a_second_coordinator_is_refused_and_lost_workers_are_replaced",
    ("database (SQLite)", PAUSE): (
        f"{LOCAL}::test_a_coordinator_that_slept_past_its_lease_writes_nothing_and_the_answers_are_the_same"
    ),
    ("database (SQLite)", FULL): f"{LOCAL}::test_a_full_disk_under_the_database",
    ("database (SQLite)", QUOTA): f"{DATABASE}::test_a_limit_on_the_size_of_files_is_no_full_disk",
    ("database (SQLite)", REMOVED): f"{PLACES}::test_a_removed_database_is_told_in_one_line",
    ("database (SQLite)", CLOCK): f"{LEASES}::test_a_lease_from_before_the_clock_was_set_back_is_held_by_nobody",
    ("database (Postgres)", KILL): f"{SERVERS}::test_database_and_mlflow_crash_and_come_back",
    ("database (Postgres)", PAUSE): f"{SERVERS}::test_database_and_mlflow_crash_and_come_back",
    ("database (Postgres)", FULL): (
        f"{SERVERS}::test_a_full_disk_under_postgres_is_told_at_once_and_keeps_what_was_there"
    ),
    ("database (Postgres)", CLOCK): f"{LEASES}::test_a_lease_from_before_the_clock_was_set_back_is_held_by_nobody",
    ("MLflow's store", KILL): (
        "tests/workers/tracking/test_sqlite_store.py::test_a_first_start_that_is_killed_leaves_nothing_half_made"
    ),
    ("MLflow's store", PAUSE): f"{PLACES}::test_while_a_paused_process_holds_mlflow_s_store_the_spools_wait",
    ("MLflow's store", FULL): f"{CANNOT_WRITE}[MLflow's store]",
    ("MLflow's store", QUOTA): f"{CANNOT_WRITE}[MLflow's store]",
    ("MLflow's store", REMOVED): f"{PLACES}::test_when_mlflow_s_store_was_removed_the_spools_wait",
    ("MLflow's store", CLOCK): f"{PLACES}::test_a_clock_that_was_set_back_changes_no_epoch_in_mlflow",
    ("spool", KILL): "tests/workers/tracking/test_spool.py::test_a_killed_writer_loses_no_complete_record",
    ("spool", PAUSE): f"{PLACES}::test_of_a_spool_whose_writer_is_paused_the_lines_are_read",
    ("spool", FULL): (f"{PLACES}::test_a_trial_whose_spool_cannot_be_written_ends_as_disk_full_and_is_trained_later"),
    ("spool", QUOTA): f"{CANNOT_WRITE}[spool]",
    ("spool", REMOVED): (
        f"{PLACES}::test_a_trial_whose_folder_and_logs_are_removed_is_lost_and_finishes_at_the_next_attempt"
    ),
    ("spool", CLOCK): f"{PLACES}::test_a_clock_that_was_set_back_changes_no_epoch_in_mlflow",
    ("checkpoint", KILL): f"{KILLED}[checkpoint]",
    (
        "checkpoint",
        PAUSE,
    ): "tests/workers/process/test_occupancy.py::test_the_newer_one_waits_and_the_older_one_learns_of_it",
    ("checkpoint", FULL): f"{LOCAL}::test_a_full_disk_at_the_checkpoint",
    ("checkpoint", QUOTA): f"{CANNOT_WRITE}[checkpoint]",
    ("checkpoint", REMOVED): (
        f"{PLACES}::test_a_trial_whose_folder_and_logs_are_removed_is_lost_and_finishes_at_the_next_attempt"
    ),
    ("checkpoint", CLOCK): f"{PLACES}::test_checkpoints_and_prepared_data_are_not_known_by_their_dates",
    ("prepared data", KILL): f"{KILLED}[prepared data]",
    ("prepared data", PAUSE): f"{PLACES}::test_whoever_wants_the_same_data_waits_for_a_paused_preparation",
    ("prepared data", FULL): f"{PLACES}::test_a_command_says_in_one_line_what_it_cannot_write",
    ("prepared data", QUOTA): f"{CANNOT_WRITE}[prepared data]",
    ("prepared data", REMOVED): f"{PLACES}::test_removed_prepared_data_are_missing_data_in_one_line",
    ("prepared data", CLOCK): f"{PLACES}::test_checkpoints_and_prepared_data_are_not_known_by_their_dates",
    ("report", KILL): f"{KILLED}[report]",
    ("report", PAUSE): f"{PAUSED}[report]",
    ("report", FULL): f"{CANNOT_WRITE}[report]",
    ("report", QUOTA): f"{CANNOT_WRITE}[report]",
    ("report", REMOVED): f"{MADE_AGAIN}[report]",
    ("log", KILL): f"{PLACES}::test_a_log_whose_writer_is_paused_or_killed_has_its_whole_lines",
    ("log", PAUSE): f"{PLACES}::test_a_log_whose_writer_is_paused_or_killed_has_its_whole_lines",
    ("log", FULL): f"{PLACES}::test_a_trial_whose_spool_cannot_be_written_ends_as_disk_full_and_is_trained_later",
    ("log", QUOTA): f"{CANNOT_WRITE}[log]",
    ("log", REMOVED): f"{PLACES}::test_a_log_that_was_removed_holds_nothing_up",
    ("`starts/`, `begun/`", KILL): f"{KILLED}[starts]",
    ("`starts/`, `begun/`", PAUSE): f"{PAUSED}[starts]",
    ("`starts/`, `begun/`", FULL): (
        "tests/sweeper/server/test_submissions.py"
        "::test_a_start_that_cannot_be_written_down_is_507_and_nothing_is_started"
    ),
    ("`starts/`, `begun/`", QUOTA): f"{CANNOT_WRITE}[begun]",
    ("`starts/`, `begun/`", REMOVED): f"{PLACES}::test_a_start_whose_file_was_removed_is_asked_for_again",
    ("`starts/`, `begun/`", CLOCK): f"{PLACES}::test_an_older_start_is_shown_below_a_newer_one",
}
"""Each fault at a place that a test makes, and the test; one case of it in brackets."""


def cells() -> dict[tuple[str, str], str]:
    """What the page says of each place and fault."""
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")
    ]
    assert len(rows) >= 9
    assert all(len(row) == len(head) == 7 for row in rows)
    return {(row[0], fault): cell for row in rows for fault, cell in zip(head[1:], row[1:], strict=True)}


def test_no_cell_of_fault_and_place_is_empty_and_what_is_said_to_be_tested_is() -> None:
    """Each says what happens, and whether that was tested, or only read in the code."""
    assert [where for where, cell in cells().items() if not re.match(r"[tr]: \w", cell.replace("`", ""))] == []
    assert {where for where, cell in cells().items() if cell.startswith("t: ")} == set(TRIED)


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_every_test_of_a_fault_at_a_place_exists() -> None:
    for named in set(TRIED.values()):
        path, function, case = re.fullmatch(r"(\S+)::(\w+)(?:\[(.+)\])?", named).groups()  # type: ignore[union-attr]
        assert function in functions_of(path), named
        # The cases are written above the function, or as the names of the places.
        assert case is None or f'"{case}"' in (ROOT / path).read_text(), named
