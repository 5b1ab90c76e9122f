"""A small network of its own: machines as network namespaces around one switch.

Everything lives in namespaces that carry this process's id in their names, the switch included, so
nothing of the host's network is touched and :meth:`Lab.close` leaves nothing behind.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Iterable

PREFIX = "10.77.0."
MDNS_PORT = 5353


def missing() -> str | None:
    """Why the laboratory cannot be built here, or None."""
    if os.name != "posix" or os.geteuid() != 0:
        return "network namespaces need root"
    for tool, package in (("ip", "iproute2"), ("tc", "iproute2"), ("nft", "nftables")):
        if shutil.which(tool) is None:
            return f"{tool} is not installed (package {package})"
    probe = f"fedtui-probe-{os.getpid()}"
    if subprocess.run(["ip", "netns", "add", probe], capture_output=True).returncode:
        return "this machine does not let us make network namespaces"
    try:
        made = run("ip", "-n", probe, "link", "add", "b0", "type", "bridge", check=False)
        tables = "add table inet t; add table bridge t"
        rules = run("ip", "netns", "exec", probe, "nft", tables, check=False)
    finally:
        run("ip", "netns", "del", probe)
    if made.returncode or rules.returncode:
        return "this kernel has no bridges or no nftables"
    return None


def run(*command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """One command of the host; its output is shown when it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done


class Lab:
    """``count`` machines, numbered from 0, with the addresses 10.77.0.1, .2, ... on adapter eth0.

    ``second`` names those that are also, or if ``apart`` only, on another network, with the
    addresses 10.77.1.1, .2, ... on eth1. Faults are those of the first one.
    """

    def __init__(
        self, count: int, *, second: Collection[int] = (), apart: Collection[int] = ()
    ) -> None:
        self._networks = [set(range(count)) - set(apart), {*second, *apart}]
        tag = f"fedtui-{os.getpid()}"
        self._switch = f"{tag}-switch"
        self.machines = [f"{tag}-{index}" for index in range(count)]
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for name in (*self.machines, self._switch):
            run("ip", "netns", "del", name, check=False)

    def _build(self) -> None:
        run("ip", "netns", "add", self._switch)
        for number in range(len(self._networks)):
            bridge = f"br{number}"
            self._on_switch("link", "add", bridge, "type", "bridge", "mcast_snooping", "0")
            self._on_switch("link", "set", bridge, "up")
        # After the first bridge: rules made before it see none of its packets.
        self._nft_on_switch("add table bridge faults")
        self._nft_on_switch(
            "add chain bridge faults forward { type filter hook forward priority 0; }"
        )
        for index, name in enumerate(self.machines):
            run("ip", "netns", "add", name)
            self.ip(index, "link", "set", "lo", "up")
            for number, members in enumerate(self._networks):
                if index in members:
                    self._wire(index, number)
            self.nft(index, "add table inet faults")
            for hook in ("input", "output"):
                self.nft(
                    index,
                    f"add chain inet faults {hook} {{ type filter hook {hook} priority 0; }}",
                )

    def _wire(self, index: int, network: int) -> None:
        """Plugs a machine into a network; the first one it is on has its default route."""
        port = f"port{index}" if network == 0 else f"port{index}n{network}"
        adapter, machine = f"eth{network}", self.machines[index]
        self._on_switch(
            "link", "add", port, "type", "veth", "peer", "name", adapter, "netns", machine
        )
        self._on_switch("link", "set", port, "master", f"br{network}", "up")
        self.ip(index, "link", "set", adapter, "up")
        self.ip(index, "addr", "add", f"10.77.{network}.{index + 1}/24", "dev", adapter)
        metric = str(100 + network)
        self.ip(index, "route", "add", "default", "dev", adapter, "metric", metric)

    def _nft_on_switch(self, rule: str) -> None:
        run("ip", "netns", "exec", self._switch, "nft", rule)

    def _on_switch(self, *arguments: str) -> None:
        run("ip", "-n", self._switch, *arguments)

    @staticmethod
    def address(index: int) -> str:
        return f"{PREFIX}{index + 1}"

    def command(self, index: int, *command: str) -> list[str]:
        """A command line that runs on a machine."""
        return ["ip", "netns", "exec", self.machines[index], *command]

    def ip(self, index: int, *arguments: str) -> None:
        run("ip", "-n", self.machines[index], *arguments)

    def nft(self, index: int, rule: str) -> None:
        run(*self.command(index, "nft", rule))

    # --- faults --------------------------------------------------------------------------------
    def heal(self) -> None:
        """Ends loss, partitions and blocked ports; links and addresses stay as they are."""
        self._nft_on_switch("flush chain bridge faults forward")
        for index in range(len(self.machines)):
            for hook in ("input", "output"):
                self.nft(index, f"flush chain inet faults {hook}")

    def lose(self, index: int, percent: int, *, only: str = "") -> None:
        """Drops that many of a hundred arriving packets, of one kind (an nft match) or all."""
        rule = f"add rule inet faults input {only} numgen random mod 100 < {percent} drop"
        self.nft(index, rule)

    def partition(self, *sides: Iterable[int]) -> None:
        """No packet passes between the sides."""
        for side in sides:
            inside = ", ".join(f"port{i}" for i in side)
            outside = ", ".join(f"port{i}" for other in sides if other is not side for i in other)
            rule = f"iifname {{ {inside} }} oifname {{ {outside} }} drop"
            self._nft_on_switch(f"add rule bridge faults forward {rule}")

    def block_mdns(self, index: int) -> None:
        for hook in ("input", "output"):
            self.nft(index, f"add rule inet faults {hook} udp dport {MDNS_PORT} drop")

    def limit(self, index: int, rate: str) -> None:
        """What a machine sends, for example ``20mbit``; the other direction at its port."""
        shape = ("root", "tbf", "rate", rate, "burst", "64kbit", "latency", "100ms")
        tc = ("tc", "-n")
        run(*tc, self.machines[index], "qdisc", "replace", "dev", "eth0", *shape)
        run(*tc, self._switch, "qdisc", "replace", "dev", f"port{index}", *shape)

    def isolate(self, *indices: int) -> None:
        """Client isolation as access points do it: these machines do not see one another."""
        for index in indices:
            run(
                "bridge", "-n", self._switch, "link", "set", "dev", f"port{index}", "isolated", "on"
            )

    def unplug(self, index: int) -> None:
        self._on_switch("link", "set", f"port{index}", "down")

    def plug(self, index: int) -> None:
        self._on_switch("link", "set", f"port{index}", "up")

    def move(self, index: int, host: int) -> None:
        """Another address, as after sleeping and joining the network again."""
        self.ip(index, "addr", "flush", "dev", "eth0")
        self.ip(index, "addr", "add", f"{PREFIX}{host}/24", "dev", "eth0")
        self.ip(index, "route", "replace", "default", "dev", "eth0", "metric", "100")
