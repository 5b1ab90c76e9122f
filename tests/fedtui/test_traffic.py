"""Totals that grow become amounts for each stretch of time."""

from __future__ import annotations

from fedtui.limits import TRAFFIC_STEP_S, TRAFFIC_STEPS
from fedtui.traffic import Traffic
from p2p.status import PeerStatus


def peer(received: int, sent: int = 0, name: str = "b") -> PeerStatus:
    return PeerStatus(name, name, "participant", False, "alive", received=received, sent=sent)


def test_what_moved_is_told_for_the_time_in_which_it_did() -> None:
    traffic = Traffic()
    assert traffic.view.received == ()
    step = TRAFFIC_STEP_S
    for now, members in (
        (0.0, [peer(100, 7)]),
        (step - 0.1, [peer(150, 7)]),
        (step, [peer(150, 9), peer(1000, name="c")]),
        (4 * step, [peer(160, 9), peer(1000, name="c")]),
    ):
        traffic.watch(members, now)
    assert traffic.view.step_s == step
    assert traffic.view.received == (150, 1000, 0, 0, 10)
    assert traffic.view.sent == (7, 2, 0, 0, 0)


def test_a_member_that_goes_takes_nothing_back() -> None:
    traffic = Traffic()
    traffic.watch([peer(100), peer(900, name="c")], 0.0)
    traffic.watch([peer(100)], 1.0)
    traffic.watch([peer(130)], 2.0)
    assert traffic.view.received == (1030,)


def test_after_a_long_sleep_there_are_no_more_steps_than_are_kept() -> None:
    traffic = Traffic()
    traffic.watch([peer(100)], 0.0)
    traffic.watch([peer(105)], 1e6)
    assert len(traffic.view.received) == TRAFFIC_STEPS
    assert traffic.view.received[-1] == 5
    assert sum(traffic.view.received) == 5
