"""A list and its details: side by side where there is width, one below the other where not."""

from __future__ import annotations

from textual.containers import Container


class Split(Container):
    """Two panels."""

    DEFAULT_CSS = """
    Split { layout: vertical; height: 1fr; width: 1fr; }
    Split > .panel { height: 1fr; width: 1fr; }
    """
