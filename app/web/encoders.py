"""The encoder of the export format that needs the templates of the page. They are imported only for this format."""

from __future__ import annotations

from ..files.archive.export_formats import Encoder
from ..model.archive_format import ExportFormat


def find_encoder(kind: ExportFormat) -> Encoder | None:
    """Return the encoder of a format that needs the templates of the page, or None for the others."""
    if kind is not ExportFormat.HTML:
        return None
    from .html_export import HtmlEncoder  # noqa: PLC0415 - servers and other exports load no templates

    return HtmlEncoder()
