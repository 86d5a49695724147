"""The site that `make docs` builds: the pages in this folder, and a reference that is read from the docstrings.

`docs/api/` and `docs/_build/` are made anew at each build and are not kept in git.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx import addnodes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils import nodes
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PACKAGES = ("trials", "storage", "workers", "sweeper", "dashboards")
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "start.md",
    "deploy/README.md": "deployment.md",
}
"""Files outside this folder that pages link to, and the pages that stand for them in the site."""
WHOLE = ("storage.repository",)
"""Modules whose classes get their methods from private modules."""
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)[^)#\s]+")

sys.path.insert(0, str(ROOT))
os.environ.update(CUDA_VISIBLE_DEVICES="-1", TF_CPP_MIN_LOG_LEVEL="3", MLFLOW_DISABLE_TELEMETRY="true")

project = "Sweeper"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Sweeper"
html_copy_source = False
html_show_copyright = False

myst_heading_anchors = 3
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]  # types in signatures: most are of other libraries
suppress_warnings = ["ref.python"]  # a name that a package re-exports is there twice

default_role = "code"
napoleon_numpy_docstring = False
autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
toc_object_entries = False  # every page copies the whole navigation: with each function in it, that is half of the time


def rooms() -> Iterator[tuple[str, list[str]]]:
    """Each package of ours with its public modules."""
    for package in PACKAGES:
        for init in sorted((ROOT / package).rglob("__init__.py")):
            room = ".".join(init.parent.relative_to(ROOT).parts)
            if "migrations" not in room:
                yield room, [f"{room}.{file.stem}" for file in sorted(init.parent.glob("[!_]*.py"))]


def write_reference(app: Sphinx) -> None:
    """One page for each room. Modules are imported here, since autodoc would import them as a type checker does."""
    api = HERE / "api"
    api.mkdir(exist_ok=True)
    pages = {"index": "# Reference\n\nFrom the docstrings, one page for each room.\n\n```{toctree}\n"}
    for room, modules in rooms():
        public = getattr(importlib.import_module(room), "__all__", [])
        text = f"# {room}\n\n```{{eval-rst}}\n.. automodule:: {room}\n```\n\n"
        if public:
            text += f"`from {room} import …`: {', '.join(f'`{name}`' for name in public)}\n\n"
        for module in modules:
            importlib.import_module(module)
            option = "\n   :inherited-members:" if module in WHOLE else ""
            text += f"## {module}\n\n```{{eval-rst}}\n.. automodule:: {module}{option}\n```\n\n"
        pages[room] = text
        pages["index"] += f"{room}\n"
    pages["index"] += "```\n"
    for old in api.glob("*.md"):
        if old.stem not in pages:
            old.unlink()
    for page, text in pages.items():
        path = api / f"{page}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def plain(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code` and Google's sections: no other mark is meant as one."""
    text = re.sub(r"^(Returns|Yields):\n((?: +.*\n?)+)", _returned, "\n".join(lines), flags=re.MULTILINE)
    parts = re.split(r"(``.*?``|`[^`]*`)", text, flags=re.DOTALL)
    parts[::2] = [re.sub(r"([*|]|(?<=\w)_(?!\w))", r"\\\1", part) for part in parts[::2]]
    # Before a colon in the first line of a constant's docstring is no type: a line that shows nothing keeps it apart.
    lines[:] = [*(["\\ "] if what in ("data", "attribute", "property") else []), *"".join(parts).split("\n")]


def _returned(match: re.Match[str]) -> str:
    """As one field: what stands before a colon is no type here, though Google's style has it so."""
    return f":{match[1].lower()}: {' '.join(match[2].split())}\n"


def shown_below(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any) -> bool | None:
    """What a room re-exports from its public modules is described there, on the same page."""
    here = app.env.current_document.autodoc_module
    home = getattr(obj, "__module__", None)
    if what == "module" and home and home != here and not home.rpartition(".")[2].startswith("_"):
        return True
    return None


def page_links(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to files outside this folder lead to the pages that stand for them."""
    source[0] = _linked(source[0], (HERE / page).parent, page)


def included_links(app: Sphinx, included: Path, page: str, source: list[str]) -> None:
    """Links of an included file are relative to it, not to the page."""
    source[0] = _linked(source[0], (HERE / included).parent, page)


def _linked(text: str, folder: Path, page: str) -> str:
    def target(match: re.Match[str]) -> str:
        path = (folder / match[0]).resolve()
        inside = OUTSIDE.get(os.path.relpath(path, ROOT))
        return os.path.relpath(HERE / inside if inside else path, (HERE / page).parent)

    return LINK.sub(target, text)


def own_types(app: Sphinx, document: nodes.document) -> None:
    """Only types of ours are links: to look for `str` among all that is described takes a fifth of the time."""
    for reference in list(document.findall(addnodes.pending_xref)):
        domain, kind, target = (reference.get(key) for key in ("refdomain", "reftype", "reftarget"))
        if domain == "py" and kind in ("class", "obj") and not target.startswith(PACKAGES):
            reference.replace_self(reference.children)


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-process-docstring", plain, priority=100)  # before napoleon
    app.connect("autodoc-skip-member", shown_below)
    app.connect("doctree-read", own_types)
    app.connect("source-read", page_links)
    app.connect("include-read", included_links)
