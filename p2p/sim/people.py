"""Who comes and goes in a simulated room: the admins' part, and the lobby's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from p2p.messages import Commit, parse, parse_result
from p2p.operations import AdminChange, AnyChange, MemberAdd, MemberRemove, Operation
from p2p.room import Member
from p2p.rounds.effects import Journal
from p2p.sim.parts import peer_ids

if TYPE_CHECKING:
    from p2p.rounds.core import RoundCore
    from p2p.sim.world import Machine, Simulation

FEWEST_VOTERS: Final = 3
"""Below this nobody is removed: a room of two voters stops when one of them is taken away."""
RETRY: Final = 2.0
APART: Final = 0.3
"""How often the network splits at the moment of an admission."""


class People:
    """Admits newcomers and removes members at times that the seed decides."""

    def __init__(self, simulation: Simulation) -> None:
        self._sim = simulation
        self._random = simulation.random
        scenario = simulation.scenario
        self._outside = list(peer_ids(scenario.nodes + scenario.newcomers)[scenario.nodes :])

    def schedule(self) -> None:
        scenario = self._sim.scenario
        together = self._a_time()
        for peer in self._outside:
            when = together if self._random.random() < 0.5 else self._a_time()
            self._sim.at(when, partial(self._admit, peer))
        for _ in range(scenario.removals):
            self._sim.at(self._a_time(), self._remove_one)
        if scenario.newcomers:
            self._sim.at(self._a_time(), self._share_the_office)
        for _ in range(scenario.leavings):
            self._sim.at(self._a_time(), self._let_one_leave)

    def _a_time(self) -> float:
        return self._random.uniform(0.5, 0.8 * self._sim.scenario.calm)

    def _again(self, action: Callable[[], None]) -> None:
        self._sim.at(self._sim.now + RETRY, action)

    def _admin(self) -> Machine | None:
        """A machine that may act as an admin now: the first one removes, any of them admits."""
        admins = [
            machine
            for machine in self._sim.machines.values()
            if self._sim.is_awake(machine) and machine.id in machine.core.membership.admins
        ]
        return self._random.choice(admins) if admins else None

    def _header(self, core: RoundCore) -> dict[str, object]:
        return {"author": core.me, "seq": core.next_number(), "after": core.head}

    def _operate(self, machine: Machine, change: AnyChange) -> Operation:
        operation = machine.core.sign(change)
        self._sim.feed(machine, lambda: machine.core.on_operation(operation, self._sim.now))
        return operation

    def _admit(self, peer: str) -> None:
        admin = self._admin()
        if admin is None:
            self._again(partial(self._admit, peer))
            return
        record = Member(peer_id=peer, name=peer[:1], certificate="")
        header = self._header(admin.core)
        self._operate(admin, MemberAdd.model_validate({**header, "member": record}))
        written = {operation.change.subject for operation in admin.disk.operations.values()}
        if peer not in written:  # The machine died before it had written that down.
            self._again(partial(self._admit, peer))
            return
        journal = Journal()
        for operation in _past(admin.core):
            journal.operations[operation.id] = operation
        self._sim.switch_on(peer, journal)
        if self._random.random() < APART and not self._sim.is_calm:
            self._part(admin.id)

    def _part(self, admin: str) -> None:
        """The network splits just now: one side knows the newcomers, the other does not."""
        for machine in self._sim.machines.values():
            is_new = machine.id not in self._sim.machines[admin].core.facts.members
            machine.side = int(is_new or machine.id == admin)

    def _remove_one(self) -> None:
        admin = self._sim.machines[self._sim.first_admin]
        core = admin.core
        removals = [
            operation
            for operation in core.journal.operations.values()
            if isinstance(operation.change, MemberRemove)
        ]
        others = sorted(set(core.facts.members) - core.membership.admins)
        awake = self._sim.is_awake(admin)
        if not awake or removals or len(core.facts.voters) < FEWEST_VOTERS or not others:
            if not self._sim.is_calm:
                self._again(self._remove_one)
            return
        machine = self._sim.machines.get(peer := self._random.choice(others))
        if machine is None or not self._sim.can_spare(machine):
            self._again(self._remove_one)
            return
        self._operate(admin, MemberRemove.model_validate({**self._header(core), "peer": peer}))

    def _let_one_leave(self) -> None:
        """Preferably one of those whom no commit has named yet."""
        able = [machine for machine in self._sim.machines.values() if self._may_leave(machine)]
        fresh = [machine for machine in able if machine.id not in machine.core.facts.members]
        if not able:
            if not self._sim.is_calm:
                self._again(self._let_one_leave)
            return
        machine = self._random.choice(fresh or able)
        header = self._header(machine.core)
        self._operate(machine, MemberRemove.model_validate({**header, "peer": machine.id}))

    def _may_leave(self, machine: Machine) -> bool:
        core = machine.core
        if machine.liar or core.me not in core.members or machine.next_key:
            return False
        if machine.id == self._sim.first_admin or not self._sim.is_awake(machine):
            return False
        if not self._sim.can_spare(machine):
            return False  # A newcomer's going counts, too: the next commit may make it a voter.
        return core.me not in core.facts.voters or len(core.facts.voters) >= FEWEST_VOTERS

    def _share_the_office(self) -> None:
        """A second admin is named, and from then on either of them admits."""
        first = self._sim.machines[self._sim.first_admin]
        members = sorted(first.core.facts.members.keys() - {first.id})
        is_admin = first.id in first.core.membership.admins
        if not self._sim.is_awake(first) or not members or not is_admin:
            return
        header = self._header(first.core)
        admins = (first.id, self._random.choice(members))
        change = AdminChange.model_validate({**header, "admins": admins, "threshold": 1})
        self._operate(first, change)


def _past(core: RoundCore) -> list[Operation]:
    """What the product's lobby hands to a newcomer (:meth:`p2p.peer.Peer.operations`)."""
    operations: list[Operation] = []
    for record in core.journal.commits:
        commit = parse(Commit.kind, record.payload)
        assert isinstance(commit, Commit)
        operations += parse_result(commit.body).operations
    return [*operations, *core.acting_operations()]
