"""What the list of events says to people."""

from __future__ import annotations

from typing import Any

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


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (
            {"excluded": True, "count": 1, "anew": True},
            "a picture is left out of training, 1 is left out now; this machine's training begins"
            " anew",
        ),
        (
            {"excluded": True, "count": 3, "anew": False},
            "a picture is left out of training, 3 are left out now",
        ),
        ({"excluded": False, "count": 0}, "a picture is trained on again, none is left out now"),
    ],
)
def test_leaving_a_picture_out_is_not_called_another_folder(
    fields: dict[str, Any], text: str
) -> None:
    event = {"seq": 1, "ts": 0.0, "type": "picture.excluded", **fields}
    view = view_of(event, str)
    assert (view.text, view.level) == (text, "ok")
