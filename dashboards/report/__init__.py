"""The report of a study as a document, and the registry to which a module of ours or a plug-in adds a section.

SECTIONS.register("notes", Section("notes", "Notes", 95, lambda data, drawings: [Paragraph("…")]))
"""

import dashboards.report.sections  # noqa: F401  registers ours
from dashboards.report.blocks import Bullets, Details, Heading, Paragraph, Table, Text, table
from dashboards.report.registry import SECTIONS, Section, SectionDrawings

__all__ = [
    "SECTIONS",
    "Bullets",
    "Details",
    "Heading",
    "Paragraph",
    "Section",
    "SectionDrawings",
    "Table",
    "Text",
    "table",
]
