"""An address by hand: who answers there is learnt from its certificate, never believed."""

from __future__ import annotations

from pathlib import Path

import pytest
from member_rig import identity
from reception_rig import LOOPBACK, host

from fedtui.control.operations import Operations
from fedtui.errors import ExitCode, FedtuiError, UsageError
from fedtui.reaching import Reaching, checked_place


async def test_a_member_is_found_at_a_place_and_nobody_else_is(tmp_path: Path) -> None:
    async with (
        host(tmp_path / "ada", identity(1)) as ada,
        host(tmp_path / "stranger", identity(9)) as stranger,
    ):
        operations = Operations()
        Reaching(ada.peer).offer(operations)
        place = f"{LOOPBACK}:{stranger.peer.port}"
        with pytest.raises(FedtuiError, match="network") as refused:
            await operations.run("add_address", {"place": place})
        assert "no member" in refused.value.cause
        assert refused.value.code == ExitCode.NETWORK
        with pytest.raises(UsageError, match="no address"):
            await operations.run("add_address", {"place": "lab-3"})


def test_a_place_is_checked_before_anything_is_dialled() -> None:
    assert checked_place("lab-3.local:47778") == ("lab-3.local", 47778)
    with pytest.raises(UsageError, match="no address"):
        checked_place("lab-3.local")
