"""The page itself: a view in, HTML out. No script, no form, nothing from elsewhere.

Everything that came from other machines, such as a room's name and its prompts, is hostile text: it
is cleaned of what draws nothing or turns lines around, escaped, and isolated in ``<bdi>``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from html import escape
from importlib.resources import files

from fedtui.limits import PAGE_RENEW_S
from fedtui.recipes import Recipe, recipes
from fedtui.view import NodeView, PreviewView
from p2p.errors import ProtocolError
from p2p.text import clean_text

TEXT_CHARS = 240
"""Of a prompt or a room's name, at most."""
NAMELESS = "a room without a name"


@cache
def style() -> str:
    """The page's style sheet, which stands in the page."""
    return files("fedtui.gallery").joinpath("page.css").read_text(encoding="utf-8")


@cache
def policy() -> str:
    """The Content-Security-Policy that lets in this page's style, its pictures and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def picture_name(preview: PreviewView) -> str:
    """What a picture is called in an address: nothing about this machine, and the same in every
    run, so that a browser may keep it."""
    told = f"{preview.round}\0{preview.seed}\0{preview.prompt}"
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()[:20]


def shown(view: NodeView) -> tuple[PreviewView, ...]:
    """The pictures on the page: what this machine drew. What others gave it is not its to show."""
    return tuple(preview for preview in view.previews if not preview.author)


def rendered(view: NodeView, crisp: bool = False) -> str:
    """The whole page; ``crisp``: the pictures are so small that their pixels shall show."""
    name = _clean(view.room_name, NAMELESS)
    found = recipes(replace(view, previews=shown(view)))
    body = "".join(_section(n, recipe) for n, recipe in enumerate(found)) or _waiting()
    large = "".join(_large(n, recipe) for n, recipe in enumerate(found))
    icon = f'<link rel="icon" href="{_address(found[0].pictures[-1])}">' if found else ""
    start = '<body class="crisp">' if crisp else "<body>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="robots" content="noindex">'
        f'<meta http-equiv="refresh" content="{PAGE_RENEW_S}">{icon}'
        f"<title>{name} · fedtui</title><style>{style()}</style></head>{start}"
        f"{_header(view, name)}<main>{body}</main>{_footer(view)}{large}</body></html>\n"
    )


def _header(view: NodeView, name: str) -> str:
    done, planned = view.commits[-1].round if view.commits else 0, view.round.rounds
    people = sum(peer.role != "observer" for peer in view.peers)
    who = "One machine trains" if people == 1 else f"{people} machines train"
    bar = f'<progress max="{planned}" value="{min(done, planned)}"></progress>' if planned else ""
    return (
        f'<header><p class="mark">fedtui</p><h1><bdi>{name}</bdi></h1>'
        f'<p class="lead">{who} one model together. Nobody’s own pictures leave their machine.</p>'
        f'<p class="state">{_state(view)}</p>{bar}</header>'
    )


def _state(view: NodeView) -> str:
    now = view.round
    of = f" of {now.rounds}" if now.rounds else ""
    if now.phase == "DONE":
        return f"All {now.rounds} rounds are done."
    if now.phase == "PAUSED":
        return f"Round {now.number}{of} waits for machines to come back."
    if not now.number:
        return "The first round has not begun."
    return f"Round {now.number}{of} is under way."


def _section(number: int, recipe: Recipe) -> str:
    first, last = recipe.pictures[0], recipe.pictures[-1]
    if first is last:
        pair = _figure(number, last, last.moment, "wide")
    else:
        pair = _figure(number, first, f"before: {first.moment}", "")
        pair += _figure(number, last, f"now: {last.moment}", "now")
    every = "".join(
        f'<li><a href="#{_anchor(number, p)}">{_image(p)}<span>{_short(p)}</span></a></li>'
        for p in recipe.pictures
    )
    rounds = f'<ol class="rounds" aria-label="Round by round">{every}</ol>'
    return (
        f'<section><h2><bdi>{_prompt(recipe)}</bdi></h2><p class="seed">seed {recipe.seed}</p>'
        f'<div class="pair">{pair}</div>{rounds if len(recipe.pictures) > 2 else ""}</section>'
    )


def _figure(number: int, preview: PreviewView, caption: str, kind: str) -> str:
    return (
        f'<figure class="{kind}"><a href="#{_anchor(number, preview)}">'
        f"{_image(preview)}</a><figcaption>{caption}</figcaption></figure>"
    )


def _large(number: int, recipe: Recipe) -> str:
    """The pictures of one prompt as large as the window; a link shows one, without any script."""
    return "".join(
        f'<div class="large" id="{_anchor(number, preview)}">'
        f'<a class="shut" href="#" aria-label="Close">{_image(preview)}</a>'
        f"<nav>{_turn(number, recipe.pictures, n - 1, '←')}"
        f"<span>{preview.moment}</span>"
        f"{_turn(number, recipe.pictures, n + 1, '→')}</nav>"
        f"<p><bdi>{_prompt(recipe)}</bdi></p></div>"
        for n, preview in enumerate(recipe.pictures)
    )


def _turn(number: int, pictures: Sequence[PreviewView], at: int, arrow: str) -> str:
    if not 0 <= at < len(pictures):
        return "<i></i>"
    label = f'aria-label="{pictures[at].moment}"'
    return f'<a href="#{_anchor(number, pictures[at])}" {label}>{arrow}</a>'


def _image(preview: PreviewView) -> str:
    told = f"{_clean(preview.prompt, 'no prompt')}, {preview.moment}"
    return f'<img loading="lazy" src="{_address(preview)}" alt="{told}">'


def _waiting() -> str:
    return (
        '<section class="empty"><h2>No picture yet</h2><p>The base model’s come first, then the '
        "same prompts after every round. This page shows them by itself.</p></section>"
    )


def _footer(view: NodeView) -> str:
    return (
        "<footer><p>Pictures under one prompt have the same prompt and the same seed: what changes "
        "is what the room has learned. Tap one to see it large.</p>"
        f"<p>Read-only, renewed every {PAGE_RENEW_S} seconds, open until a member closes it. "
        f"fedtui {_clean(view.version, '')}</p></footer>"
    )


def _address(preview: PreviewView) -> str:
    return f"{picture_name(preview)}.png"


def _anchor(number: int, preview: PreviewView) -> str:
    return f"p{number}r{preview.round}"


def _short(preview: PreviewView) -> str:
    return f"{preview.round}" if preview.round else "base"


def _prompt(recipe: Recipe) -> str:
    return _clean(recipe.prompt, "no prompt")


def _clean(text: str, instead: str) -> str:
    """Text for between tags and for a quoted attribute."""
    try:
        return escape(clean_text(text, TEXT_CHARS))
    except ProtocolError:
        return instead
