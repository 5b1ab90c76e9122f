"""``python -m p2p.sim``: how often does the protocol break, and do we notice when it does?"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping

from p2p.sim import failover, gossip, swarm_campaign
from p2p.sim.campaign import mixed_scenario, run_campaign
from p2p.sim.mutations import MUTATIONS
from p2p.sim.people import FEWEST_VOTERS
from p2p.sim.world import Scenario


def main() -> int:
    """Exit code 0: every run was safe and live, or a mutation was caught; 1 otherwise."""
    parser = argparse.ArgumentParser(prog="python -m p2p.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="number of executions")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--nodes", type=int, default=5)
    parser.add_argument("--rule", choices=("majority", "two_thirds"), default="majority")
    parser.add_argument("--liars", type=int, default=0, help="nodes that equivocate")
    parser.add_argument("--loss", type=float, help="share of messages lost (0.15; gossip: 0.05)")
    parser.add_argument("--newcomers", type=int, default=0, help="members admitted on the way")
    parser.add_argument("--removals", type=int, default=0, help="members removed on the way")
    parser.add_argument("--leavings", type=int, default=0, help="members that leave on the way")
    parser.add_argument("--key-changes", type=int, default=0, help="members that get new keys")
    parser.add_argument("--restore", type=float, default=0.0, help="share of starts from a backup")
    parser.add_argument(
        "--mixed", action="store_true", help="rooms of 3 to 16 with faults drawn by the seed"
    )
    parser.add_argument(
        "--mutations", action="store_true", help="whether each mutation shows within so many seeds"
    )
    parser.add_argument(
        "--failover", action="store_true", help="measure what a dead aggregator costs instead"
    )
    parser.add_argument("--gossip", action="store_true", help="measure failure detection instead")
    parser.add_argument(
        "--blobs", action="store_true", help="nodes that fetch a blob from one another instead"
    )
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="break the protocol so")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    options = parser.parse_args()
    if options.failover:
        return _measure_failover(options)
    if options.gossip:
        return _measure_gossip(options)
    if options.blobs:
        return _try_swarm_mutations(options) if options.mutations else _fetch_blobs(options)
    if options.mutations:
        return _try_mutations(options)
    scenario: Scenario | Callable[[int], Scenario]
    if options.mixed:
        scenario = mixed_scenario
    elif options.mutation:
        scenario = MUTATIONS[options.mutation].scenario(options.nodes)
    else:
        scenario = Scenario(
            nodes=options.nodes,
            rule=options.rule,
            liars=options.liars,
            loss=0.15 if options.loss is None else options.loss,
            newcomers=options.newcomers,
            removals=options.removals,
            leavings=options.leavings,
            key_changes=options.key_changes,
            restore=options.restore,
            min_voters=FEWEST_VOTERS if options.removals or options.restore else 2,
        )
    started = time.monotonic()
    report = run_campaign(
        scenario, range(options.first, options.first + options.seeds), tell=_tell(options.json)
    )
    wall_s = round(time.monotonic() - started, 3)
    summary = {**report.summary(), "wall_s": wall_s}
    _print(summary, options.json)
    if options.mutation:
        return 0 if getattr(report, MUTATIONS[options.mutation].shows_as) else 1
    return 0 if not report.unsafe and report.live == report.seeds else 1


def _try_mutations(options: argparse.Namespace) -> int:
    """Exit code 0: every broken protocol was caught."""
    caught = True
    for name, mutation in MUTATIONS.items():
        started = time.monotonic()
        seeds = range(options.first, options.first + options.seeds)
        kind = mutation.shows_as
        report = run_campaign(mutation.scenario(), seeds, stop_at_first=kind)
        found = bool(getattr(report, kind))
        caught = caught and found
        wall_s = round(time.monotonic() - started, 1)
        figures = {"mutation": name, "caught": found, "as": kind, "seeds": report.seeds}
        _print({**figures, "wall_s": wall_s}, options.json)
    return 0 if caught else 1


def _fetch_blobs(options: argparse.Namespace) -> int:
    """Exit code 0: everybody got the right bytes, and little came twice."""
    started = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    report = swarm_campaign.run_campaign(seeds, tell=_tell(options.json))
    _print({**report.summary(), "wall_s": round(time.monotonic() - started, 3)}, options.json)
    return 0 if report.complete == report.seeds else 1


def _try_swarm_mutations(options: argparse.Namespace) -> int:
    """Exit code 0: every broken part was caught."""
    seeds = range(options.first, options.first + options.seeds)
    caught = True
    for name, mutation in swarm_campaign.MUTATIONS.items():
        report = swarm_campaign.run_campaign(seeds, mutation=mutation, stop_at_first=True)
        found = bool(getattr(report, mutation.shows_as))
        caught = caught and found
        figures = {"mutation": name, "caught": found, "as": mutation.shows_as}
        _print({**figures, "seeds": report.seeds}, options.json)
    return 0 if caught else 1


def _measure_failover(options: argparse.Namespace) -> int:
    """Exit code 0: nobody waits longer than promised."""
    good = True
    for line in failover.report(options.nodes, range(options.first, options.first + options.seeds)):
        good = good and bool(line["good"])
        _print(line, options.json)
    return 0 if good else 1


def _measure_gossip(options: argparse.Namespace) -> int:
    """Exit code 0: a crash is seen within 60 s, a goodbye within 2 s, no false alarm above 10 s."""
    started = time.monotonic()
    loss = 0.05 if options.loss is None else options.loss
    seeds = range(options.first, options.first + options.seeds)
    figures = gossip.report(options.nodes, loss, seeds)
    _print({**figures, "wall_s": round(time.monotonic() - started, 3)}, options.json)
    good = (
        figures["crash_seen_by_all_p99_s"] <= gossip.MAX_DETECTION
        and figures["leave_seen_by_all_max_s"] <= gossip.MAX_LEAVE
        and figures["false_alarm_longest_s"] <= gossip.MAX_FALSE_ALARM
    )
    return 0 if good else 1


def _print(figures: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures), flush=True)
    else:
        print(" ".join(f"{key}={value}" for key, value in figures.items()), flush=True)


def _tell(as_json: bool):  # type: ignore[no-untyped-def]
    def tell(seed: int, problem: str) -> None:
        text = (
            json.dumps({"seed": seed, "problem": problem}) if as_json else f"seed {seed}: {problem}"
        )
        print(text, file=sys.stdout if as_json else sys.stderr, flush=True)

    return tell


if __name__ == "__main__":
    sys.exit(main())
