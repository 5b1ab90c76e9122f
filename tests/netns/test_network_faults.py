"""Rooms of real nodes on a real (small) network that fails in every way a workshop's does.

After each fault the ledgers are prefixes of one another and rounds go on. Needs root, iproute2 and
nftables: ``make test-netns``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lab import Lab, missing
from toy_site import Site, peer_id

REASON = missing()
pytestmark = [
    pytest.mark.netns,
    pytest.mark.slow,
    pytest.mark.skipif(REASON is not None, reason=str(REASON)),
]

BACK_WITHIN = 30.0
"""What the product promises for a laptop that slept, in seconds."""

Rooms = Callable[..., tuple[Lab, Site]]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Rooms]:
    """Makes one laboratory with a room in it."""
    made: list[Any] = []

    def make(count: int, **networks: Any) -> tuple[Lab, Site]:
        lab = Lab(count, **networks)
        made.append(lab)
        site = Site(tmp_path, count, prefix=lambda index: lab.command(index))
        made.append(site)
        return lab, site

    yield make
    for part in reversed(made):
        part.close()


def test_rounds_go_on_under_loss_and_on_slow_links(room: Rooms) -> None:
    lab, site = room(4)
    for index in range(4):
        lab.lose(index, 5)
    lab.limit(3, "2mbit")
    site.start()
    site.until("everybody sees everybody", site.all_see_all)
    site.until_rounds(4)
    assert site.agree()


def test_a_minority_waits_and_a_majority_goes_on(room: Rooms) -> None:
    lab, site = room(5)
    site.start()
    site.until("everybody sees everybody", site.all_see_all)
    site.until_rounds(1)
    lab.partition([0, 1], [2, 3, 4])
    site.until("the minority pauses", lambda: site.see(0)["phase"] == "PAUSED")
    site.until_rounds(3, 2, 3, 4)
    behind = len(site.ledger(0))
    assert behind < len(site.ledger(2))
    assert site.agree()
    lab.heal()
    site.until("everybody is back", site.all_see_all, BACK_WITHIN)
    site.until_rounds(2)
    assert site.agree()


def test_a_cable_that_comes_out_and_an_address_that_changes(room: Rooms) -> None:
    lab, site = room(4)
    site.start()
    site.until("everybody sees everybody", site.all_see_all)
    lab.unplug(1)
    site.until("the others miss it", lambda: site.state(1, seen_by=0) == "unreachable")
    site.until_rounds(1, 0, 2, 3)
    lab.move(1, 99)
    lab.plug(1)
    site.until("it is back at another address", site.all_see_all, BACK_WITHIN)
    site.until_rounds(2)
    assert site.agree()
    site.until("its old address is not used any more", lambda: moved(site, lab.address(1)))


def moved(site: Site, old: str) -> bool:
    address = site.path(1, seen_by=0)["address"]
    return bool(address) and not address.startswith(f"{old}:")


def test_clients_that_an_access_point_keeps_apart_are_relayed(room: Rooms) -> None:
    lab, site = room(4)
    lab.isolate(0, 1)
    site.start()
    site.until("everybody sees everybody", site.all_see_all)
    site.until(
        "the two are relayed",
        lambda: {site.path(1, 0)["reach"], site.path(0, 1)["reach"]} == {"relayed"},
    )
    assert site.path(1, 0)["via"] in {peer_id(2), peer_id(3)}
    site.until("the others are direct", lambda: site.path(2, 0)["reach"] == "direct")
    site.until_rounds(3)
    assert site.agree()
    everybody = {peer_id(index) for index in range(4)}
    assert set(site.see(0)["inputs"][-1]) == everybody, "nobody is left out"


def test_a_closed_lid_and_a_dead_battery(room: Rooms) -> None:
    _, site = room(5)
    site.start()
    site.until("everybody sees everybody", site.all_see_all)
    site.until_rounds(1)
    site.freeze(1)
    closed = time.monotonic()
    site.kill(2)
    others = (0, 3, 4)
    site.until(
        "the others miss both",
        lambda: all(site.state(gone, me) == "unreachable" for gone in (1, 2) for me in others),
    )
    site.until_rounds(2, *others)
    site.start(2)
    site.until("the dead one is back", lambda: site.all_see_all((0, 2, 3, 4)), BACK_WITHIN)
    time.sleep(max(0.0, 35.0 - (time.monotonic() - closed)))
    goal = len(site.ledger(0))
    site.thaw(1)
    site.until("the sleeper is back", site.all_see_all, BACK_WITHIN)
    site.until("it has caught up", lambda: len(site.ledger(1)) >= goal, BACK_WITHIN)
    site.until_rounds(2)
    assert site.agree()


def test_without_multicast_an_address_by_hand_is_enough_and_is_remembered(room: Rooms) -> None:
    lab, site = room(3)
    for index in range(3):
        lab.block_mdns(index)
    site.start()
    site.until("all are up", lambda: all(site.see(index) for index in range(3)))
    place = f"{lab.address(0)}:{site.see(0)['port']}"
    site.tell(1, place)
    site.tell(2, place)
    site.until("everybody sees everybody", site.all_see_all)
    site.until_rounds(1)
    port = site.see(1)["port"]
    site.kill(1)
    site.start(1, port=port)
    site.until("the restarted one is back by itself", site.all_see_all)
    site.until_rounds(1)
    assert site.agree()


def test_a_node_that_starts_without_a_network_joins_when_there_is_one(room: Rooms) -> None:
    lab, site = room(3)
    lab.ip(2, "addr", "flush", "dev", "eth0")
    lab.ip(2, "link", "set", "eth0", "down")
    lab.ip(2, "link", "set", "lo", "down")
    site.start()
    site.until("it runs", lambda: bool(site.see(2)))
    site.until("the others meet", lambda: site.all_see_all((0, 1)))
    assert site.see(2)["discovery"].startswith("off (")
    lab.ip(2, "link", "set", "lo", "up")
    lab.ip(2, "link", "set", "eth0", "up")
    lab.move(2, 3)
    site.until("it is there", site.all_see_all, BACK_WITHIN)
    site.until_rounds(1)
    assert site.agree()


def test_a_machine_on_two_networks_joins_them(room: Rooms) -> None:
    _, site = room(3, second=[1], apart=[2])
    site.start()
    site.until("everybody sees everybody", site.all_see_all)
    site.until("the far ones are relayed", lambda: site.path(2, seen_by=0)["reach"] == "relayed")
    assert site.path(2, seen_by=0)["via"] == peer_id(1)
    site.until("the middle is direct", lambda: site.path(1, seen_by=2)["reach"] == "direct")
    site.until_rounds(2)
    assert site.agree()
