"""Keeping places on a machine out of what leaves it: messages that end in MLflow or a report name files, not folders.

A folder's name often holds a user's or a patient's. Imports nothing of ours.
"""

from __future__ import annotations

import re
from pathlib import Path

_ABSOLUTE = re.compile(r"""(?<![\w.:/…])(?:[A-Za-z]:)?(?:[/\\][^/\\\s'":,;()<>]+)+[/\\]?""")


def without_folders(text: str, *known: Path) -> str:
    """The text with each absolute path cut down to `…/` and its last part.

    Args:
        text: any message.
        known: folders that are cut off whole even if there is white space in them, where a path cannot be told from
            the words around it.
    """
    for folder in sorted({*known, Path.home()}, key=lambda path: -len(str(path))):
        if folder != Path(folder.anchor):
            text = text.replace(f"{folder}/", "…/").replace(str(folder), f"…/{folder.name}")
    return _ABSOLUTE.sub(_last, text)


def _last(match: re.Match[str]) -> str:
    parts = re.split(r"[/\\]", match[0].rstrip("/\\"))
    return f"…/{parts[-1]}" if len(parts) > 2 else match[0]
