"""What the list of events says to people."""

from __future__ import annotations

import pytest

from fedtui.events import view_of


@pytest.mark.parametrize(
    ("verdict", "reason", "text", "level"),
    [
        ("ok", "", "contribution of Ada checked", "info"),
        ("refused", "not finite", "contribution of Ada refused: not finite", "warning"),
        (
            "unchecked",
            "nobody who is there can give its file",
            "contribution of Ada could not be checked here: nobody who is there can give its file",
            "warning",
        ),
    ],
)
def test_only_work_that_was_looked_at_is_called_refused(
    verdict: str, reason: str, text: str, level: str
) -> None:
    event = {
        "seq": 1, "ts": 0.0, "type": "contribution.checked",
        "round": 1, "peer": "a" * 52, "verdict": verdict, "reason": reason,
    }  # fmt: skip
    view = view_of(event, lambda peer: "Ada")
    assert (view.text, view.level) == (text, level)
