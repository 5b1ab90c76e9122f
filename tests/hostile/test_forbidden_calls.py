"""What must not stand in the source, where a linter that knows no types cannot see it.

Imports and plain functions (pickle, ``torch.load``, ``eval``) are the linter's: pyproject.toml.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("p2p", "fedtui", "trainer")


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the last word of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if isinstance(function, ast.Attribute):
                yield function.attr, node
            elif isinstance(function, ast.Name):
                yield function.id, node


def dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


def parses_peers_bodies(tree: ast.AST) -> bool:
    """aiohttp's own parsers of forms and JSON: unbounded, and with a history."""
    on = {"request", "response", "answer", "reply"}
    return any(
        name in {"json", "post", "multipart"}
        and isinstance(call.func, ast.Attribute)
        and dotted(call.func.value).rpartition(".")[2] in on
        for name, call in calls(tree)
    )


def is_unverified(tree: ast.AST) -> bool:
    """TLS that accepts anybody."""
    names = {dotted(node).rpartition(".")[2] for node in ast.walk(tree)}
    return bool(names & {"CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context"})


def reads_the_wall_clock(tree: ast.AST) -> bool:
    return any(dotted(call.func) in {"time.time", "datetime.now"} for _, call in calls(tree))


def writes_markup(tree: ast.AST) -> bool:
    """Text that may come from a peer, read as a language that can run actions."""
    for name, call in calls(tree):
        if name in {"from_markup", "from_ansi"}:
            return True
        for keyword in call.keywords:
            asks = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            if keyword.arg == "markup" and asks:
                return True
    return False


def runs_a_shell(tree: ast.AST) -> bool:
    given = (keyword for _, call in calls(tree) for keyword in call.keywords)
    return any(
        keyword.arg == "shell" and ast.unparse(keyword.value) != "False" for keyword in given
    )


def unpickles_arrays(tree: ast.AST) -> bool:
    given = (keyword for _, call in calls(tree) for keyword in call.keywords)
    return any(
        keyword.arg in {"allow_pickle", "weights_only"}
        and ast.unparse(keyword.value) == str(keyword.arg == "allow_pickle")
        for keyword in given
    )


RULES: dict[str, tuple[Callable[[ast.AST], bool], tuple[str, ...], frozenset[str]]] = {
    "bodies of peers are read as bytes": (parses_peers_bodies, ("p2p",), frozenset()),
    "TLS verifies, but at the lobby, where the invite does": (
        is_unverified, PACKAGES, frozenset({"p2p/joining/door.py"}),
    ),
    "the wall clock decides nothing in rounds": (
        # The ledger numbers its starts by it, which survives a lost disk.
        reads_the_wall_clock, ("p2p/rounds", "p2p/gossip"), frozenset({"p2p/rounds/ledger.py"}),
    ),
    "text is shown as text": (writes_markup, ("fedtui",), frozenset()),
    "no shell is run": (runs_a_shell, PACKAGES, frozenset()),
    "no array is unpickled": (unpickles_arrays, PACKAGES, frozenset()),
}  # fmt: skip


@pytest.mark.parametrize("rule", RULES)
def test_the_source_keeps(rule: str) -> None:
    broken, folders, allowed = RULES[rule]
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert files
    found = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if broken(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == allowed


@pytest.mark.parametrize(
    ("rule", "source"),
    [
        (parses_peers_bodies, "await self.request.json()"),
        (parses_peers_bodies, "form = await request.post()"),
        (is_unverified, "context.verify_mode = ssl.CERT_NONE"),
        (reads_the_wall_clock, "late = time.time() > end"),
        (writes_markup, "Static(f'[b]{name}', markup=True)"),
        (writes_markup, "Content.from_markup(f'[b]{name}')"),
        (runs_a_shell, "subprocess.run(text, shell=True)"),
        (unpickles_arrays, "numpy.load(path, allow_pickle=True)"),
        (unpickles_arrays, "torch.load(path, weights_only=False)"),
    ],
)
def test_a_rule_notices(rule: Callable[[ast.AST], bool], source: str) -> None:
    tree = ast.parse(f"async def f():\n    {source}")
    assert rule(tree)
