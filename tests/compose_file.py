"""docker-compose.yml as tests read it: no engine is needed."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"

Services = dict[str, dict[str, Any]]


def read_compose() -> dict[str, Any]:
    return yaml.safe_load(COMPOSE.read_text())


def resolved(text: object, **environment: str) -> str:
    """What Compose makes of `${NAME:-default}` and `${NAME:+if set}`, innermost first."""
    pattern = re.compile(r"\$\{(\w+)(?::([-+])([^{}]*))?\}")
    text = str(text)
    while found := pattern.search(text):
        value, other = environment.get(found[1]) or "", found[3] or ""
        text = text.replace(found[0], (other if value else "") if found[2] == "+" else value or other)
    return text


def granted(service: dict[str, Any]) -> dict[str, str]:
    """The secrets of a service: the file that it sees, and the secret that this file is."""
    entries = [e if isinstance(e, dict) else {"source": e} for e in service.get("secrets", [])]
    return {entry.get("target", entry["source"]): entry["source"] for entry in entries}


def seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60}[text[-1]]
