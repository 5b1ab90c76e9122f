"""Where a member is, said by hand: for networks on which machines do not find one another."""

from __future__ import annotations

from fedtui.tui.screens.line import LineScreen

PLACE_CHARS = 262
"""Of a host's name and a port."""
TOLD = (
    "For networks on which the machines do not find one another. The address stands on the other "
    "machine: fedtui peers, or key 2 there. Its certificate says who answers.\n\n"
    "enter connects, esc changes nothing."
)


class AddressScreen(LineScreen):
    """Dismissed with ``HOST:PORT`` as it was typed, or with nothing."""

    def __init__(self) -> None:
        super().__init__("Where does a member listen?", TOLD, "192.168.1.20:7420", PLACE_CHARS)
