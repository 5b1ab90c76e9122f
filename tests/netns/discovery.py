"""How long members take to find one another: ``python -m tests.netns.discovery --loss 30``.

Nodes start together on a network of namespaces, with nothing remembered; measured is the time from
the later of two starts until one has a signed record of the other, for all ordered pairs.
Needs root, iproute2 and nftables. Exit code 0 when the 95th percentile is as promised.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.netns.lab import Lab, missing
from tests.toy_site import Site, peer_id

CLEAN_P95 = 3.0
LOSSY_P95 = 10.0
"""Seconds that we promise without loss, and with up to 30 % of the mDNS packets lost."""


def events(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def measure(nodes: int, loss: int) -> list[float]:
    """Seconds for every ordered pair, in one trial."""
    with tempfile.TemporaryDirectory(prefix="fedtui-discovery-") as directory:
        root, lab = Path(directory), Lab(nodes)
        site = Site(root, nodes, prefix=lambda index: lab.command(index), training=3600.0)
        try:
            if loss:
                for index in range(nodes):
                    lab.lose(index, loss, only="udp dport 5353")
            site.start()
            site.until("everybody sees everybody", site.all_see_all)
            ready: dict[int, float] = {}
            found: dict[tuple[int, str], float] = {}
            for index in range(nodes):
                for event in events(root / f"log-{index}.txt"):
                    moment = float(str(event["time"]))
                    if event["type"] == "room.joined":
                        ready[index] = moment
                    elif event["type"] == "peer.found":
                        found[index, str(event["peer"])] = moment
            return [
                found[me, peer_id(other)] - max(ready[me], ready[other])
                for me in range(nodes)
                for other in range(nodes)
                if me != other
            ]
        finally:
            site.close()
            lab.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.netns.discovery", description=__doc__)
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--loss", type=int, default=0, help="percent of mDNS packets lost")
    parser.add_argument("--trials", type=int, default=8)
    options = parser.parse_args()
    if reason := missing():
        print(f"not measured: {reason}", file=sys.stderr)
        return 2
    pairs = sorted(
        seconds for _ in range(options.trials) for seconds in measure(options.nodes, options.loss)
    )
    p95 = pairs[int(0.95 * (len(pairs) - 1) + 0.5)]
    report = {
        "nodes": options.nodes,
        "loss_percent": options.loss,
        "pairs": len(pairs),
        "median_s": round(pairs[len(pairs) // 2], 2),
        "p95_s": round(p95, 2),
        "max_s": round(pairs[-1], 2),
    }
    print(json.dumps(report))
    return 0 if p95 <= (LOSSY_P95 if options.loss else CLEAN_P95) else 1


if __name__ == "__main__":
    sys.exit(main())
