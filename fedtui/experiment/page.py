"""A report as one HTML file with everything in it, readable without a network."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

STYLE = """
:root { color-scheme: light dark; --ink: #24283b; --pale: #8b90a5; --line: #d5d8e3; }
@media (prefers-color-scheme: dark) { :root { --ink: #d5d9e8; --pale: #8b90a5; --line: #3b4058; } }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); max-width: 58rem;
       margin: 3rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin-top: 2.6rem; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem 1.1rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } td.good { font-weight: 600; } .note { color: var(--pale); }
img { max-width: 100%; background: #fff; image-rendering: auto; }
pre { overflow-x: auto; font-size: 13px; color: var(--pale); white-space: pre-wrap; }
"""


@dataclass
class Page:
    """Built from top to bottom; every text is escaped here."""

    title: str
    _parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        self._parts.append(f"<h2>{html.escape(text)}</h2>")

    def text(self, text: str, note: bool = False) -> None:
        kind = ' class="note"' if note else ""
        self._parts.append(f"<p{kind}>{html.escape(text)}</p>")

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(_unbroken(cell))}</td>" for cell in row) + "</tr>"
            for row in rows
        )
        self._parts.append(f"<table><tr>{head}</tr>{body}</table>")

    def picture(self, path: Path, caption: str) -> None:
        """A PNG, inside the page."""
        data = base64.b64encode(path.read_bytes()).decode()
        text = html.escape(caption)
        self._parts.append(f'<p><img alt="{text}" src="data:image/png;base64,{data}"></p>')
        self.text(caption, note=True)

    def code(self, text: str) -> None:
        self._parts.append(f"<pre>{html.escape(text)}</pre>")

    def write(self, path: Path) -> None:
        title = html.escape(self.title)
        body = "\n".join(self._parts)
        path.write_text(
            f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
            f'<meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{STYLE}</style>\n<h1>{title}</h1>\n{body}\n</html>\n",
            encoding="utf-8",
        )


def _unbroken(cell: str) -> str:
    """Keeps a value and its spread on one line."""
    return cell.replace(" ± ", "\u00a0±\u00a0")
