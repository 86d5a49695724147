"""Dash's types by name, since its components are known to it by `Any` alone."""

from __future__ import annotations

from collections.abc import Sequence

from dash.development.base_component import Component

Node = Component | str | int | float | None
"""What an element may contain: a component or a text."""

Nodes = Node | Sequence[Node]
"""The children of an element."""

__all__ = ["Component", "Node", "Nodes"]
