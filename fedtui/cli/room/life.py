"""Rooms of this machine: made, chosen, forked, left."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from fedtui.cli import data_options, output, places, tuning_options
from fedtui.cli.room.place import (
    ask,
    ask_node,
    await_room,
    issue,
    owner,
    resident,
    switch,
    works_for,
)
from fedtui.cli.room.words import Json, seconds, show_invite
from fedtui.cli.rule_options import Algorithm, Proximal, RuleName, RuleOptions


def create(
    name: Annotated[str, typer.Argument(help="What the room is called.")],
    model: Annotated[str, typer.Option(help="Base model: a name or a folder.")] = "tiny-landscapes",
    algorithm: Algorithm = "fedex",
    rule: RuleName = "n_k",
    rule_option: RuleOptions = None,
    personal: Annotated[
        list[str] | None,
        typer.Option(help="Layers whose names contain this stay with each member; repeatable."),
    ] = None,
    proximal: Proximal = 0.0,
    convolutions: Annotated[
        bool, typer.Option("--convolutions", help="Adapt convolutions beside attention.")
    ] = False,
    text_encoder: Annotated[
        bool, typer.Option("--text-encoder", help="Adapt the CLIP text encoders as well.")
    ] = False,
    alpha: tuning_options.Alpha = 0,
    dropout: tuning_options.Dropout = 0.0,
    rslora: tuning_options.RsLora = False,
    trigger: data_options.Trigger = "",
    caption_dropout: data_options.CaptionDropout = 0.0,
    shuffle_tags: data_options.ShuffleTags = False,
    keep_tags: data_options.KeepTags = 0,
    buckets: data_options.Buckets = False,
    bucket_step: data_options.BucketStep = 0,
    crops: data_options.Crops = 1,
    flip: data_options.Flip = False,
    shared: Annotated[
        Path | None,
        typer.Option(help="Pictures to train on by all who have them; you hand them round."),
    ] = None,
    shared_note: Annotated[
        str, typer.Option(help="Whose --shared pictures they are, and their licence.")
    ] = "",
    rounds: Annotated[
        int, typer.Option(min=1, max=100_000, help="Rounds to train; cannot be changed later.")
    ] = 3,
    min_contributions: Annotated[
        int, typer.Option(min=1, max=128, help="A round waits for this many participants.")
    ] = 2,
    ask: Annotated[
        int, typer.Option(min=0, max=128, help="Participants asked in each round; 0: everybody.")
    ] = 0,
    deadline: Annotated[
        int, typer.Option(min=1, max=604_800, help="Seconds one round may take at most.")
    ] = 900,
    steps: Annotated[int, typer.Option(min=1, help="Training steps per round.")] = 40,
    rank: Annotated[int, typer.Option(min=1, max=256, help="Rank of the LoRA adapter.")] = 8,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            "--learning-rate",
            "--lr",
            min=1e-6,
            max=1.0,
            help="Size of a training step; left out, what suits the model.",
        ),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(metavar="PROMPT", help="Draw previews of this; several times for more."),
    ] = None,
    quorum: Annotated[
        Literal["majority", "two_thirds"],
        typer.Option(help="majority among friends, two_thirds among strangers."),
    ] = "majority",
    min_voters: Annotated[
        int, typer.Option(min=1, max=128, help="Voters are not made fewer, whoever is away.")
    ] = 2,
    max_blob: Annotated[
        int, typer.Option(min=1, max=1024, help="Largest contribution that is taken, in MiB.")
    ] = 256,
    threshold: Annotated[
        int, typer.Option(min=1, max=16, help="Admins that must sign changes, once there are some.")
    ] = 1,
    start_on_request: Annotated[
        bool, typer.Option("--start-on-request", help="Rounds wait for `fedtui room start`.")
    ] = False,
    late: Annotated[
        Literal["drop", "carry"],
        typer.Option(help="Contributions after the cut: lost, or half of each in the next round."),
    ] = "drop",
    as_name: Annotated[str, typer.Option("--as", help="Your name in the room.")] = "",
    uses: Annotated[int, typer.Option(min=1, max=128, help="Machines its invite admits.")] = 1,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long its invite lives: 90s, 10m, 2h, 1d.")
    ] = "",
    auto_approve: Annotated[
        bool, typer.Option("--auto-approve", help="Its invite admits without asking you.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a room; print its id and an invite for others.

    Example: fedtui room create Cats --rounds 10 --prompt "a cat" --uses 4
    """
    from fedtui.founding import RoomChoices, found_room
    from fedtui.inviting import InviteChoices, check
    from fedtui.task import MILLI, DataTask, refused

    invite_choices = InviteChoices(uses, seconds(expires), auto_approve=auto_approve)
    check(invite_choices)
    profile, settings, identity = owner()
    try:
        data = DataTask(
            trigger=trigger, dropout_milli=round(caption_dropout * MILLI), shuffle=shuffle_tags,
            keep=keep_tags, buckets=buckets, bucket_step=bucket_step, crops=crops, flip=flip,
        )  # fmt: skip
    except ValueError as error:
        raise refused(error) from error
    choices = RoomChoices(
        name=name,
        model=model,
        algorithm=algorithm,
        rule=rule,
        rule_options=tuple(rule_option or ()),
        personal=tuple(personal or ()),
        proximal=proximal,
        convolutions=convolutions,
        text_encoder=text_encoder,
        data=data,
        shared=places.folder(shared) if shared else None,
        shared_note=shared_note,
        rounds=rounds,
        min_contributions=min_contributions,
        ask=ask or None,
        deadline_s=deadline,
        steps=steps,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        rank_stabilised=rslora,
        learning_rate=learning_rate,
        prompts=tuple(prompt or ()),
        quorum=quorum,
        min_voters=min_voters,
        max_blob_mib=max_blob,
        threshold=threshold,
        start_on_request=start_on_request,
        late=late,
    )
    from fedtui.cli import running
    from fedtui.entering import own_name
    from fedtui.trust import TrustBook

    me = own_name(settings, as_name)
    room = running.run(found_room(profile, identity, me, choices))
    TrustBook(profile.trust).note("created", identity.peer_id, me, room=room.id)
    switch(room)
    invite = issue(settings, identity, room, invite_choices)
    if json:
        output.data_json({"room": room.id, "name": room.name, "invite": asdict(invite)})
        return
    output.say(f"the room {room.name} is made; you are its admin, as {me}")
    output.data(room.id)
    show_invite(invite, running=works_for(room))


def list_(json: Json = False) -> None:
    """List this machine's rooms; * marks the one it works for."""
    from fedtui import paths, rooms

    profile = paths.default_profile()
    active = rooms.current(profile).id if rooms.is_chosen(profile) else ""
    found = rooms.listed(profile)
    if json:
        output.data_json(
            [
                {"room": room.id, "name": room.name, "active": room.id == active,
                 "model": room.task.model, "rounds": room.genesis.plan.rounds}
                for room in found
            ]
        )  # fmt: skip
        return
    if not found:
        output.say("no room yet: make one with `fedtui room create NAME`, or `fedtui room join`")
        return
    rows = [
        ("*" if room.id == active else "", room.name, room.id[:12], room.task.model)
        for room in found
    ]
    output.data(output.table(("", "name", "id", "model"), rows))


def use(
    name: Annotated[str, typer.Argument(help="A room's name, or the beginning of its id.")],
    json: Json = False,
) -> None:
    """Work for another of this machine's rooms."""
    from fedtui import paths, rooms

    profile = paths.default_profile()
    room = rooms.named(profile, name)
    rooms.use(profile, room)
    switched = switch(room)
    if json:
        output.data_json({"room": room.id, "name": room.name, "node": switched})
    else:
        output.say(f"this machine works for {room.name} now")


def recover(
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Although the room has its quorum.")
    ] = False,
    uses: Annotated[int, typer.Option(min=1, max=128, help="Machines its invite admits.")] = 8,
    json: Json = False,
) -> None:
    """Fork a room that lost too many members for good.

    The fork goes on from the last common adapter. Whoever is away stays in the old room; everybody
    else joins the new one with the invite that this prints.
    """
    from fedtui.inviting import InviteChoices

    told = ask_node("recover", anyway=anyway)
    settings, room, identity = resident()
    await_room(room)
    invite = issue(settings, identity, room, InviteChoices(uses))
    if json:
        output.data_json({**told, "invite": asdict(invite)})
        return
    output.say(f"{room.name} goes on after round {told['after_round']} as another room")
    output.say(f"its members: {', '.join(told['members'])}; they join it without a question")
    if told["left_out"]:
        output.say(f"left behind: {', '.join(told['left_out'])}; you are asked if they join")
    output.data(room.id)
    show_invite(invite, running=True)


def plan(json: Json = False) -> None:
    """Show what the room agreed on and what can still change."""
    from fedtui import paths, rooms
    from fedtui.agreement import terms

    room = rooms.current(paths.default_profile())
    agreed = ask("plan") if works_for(room) else None
    if agreed is None:
        founding = terms(room, len(room.genesis.admins), room.genesis.admin_threshold)
        agreed = {"room": room.id, "name": room.name, "terms": [asdict(term) for term in founding]}
    if json:
        output.data_json(agreed)
        return
    group = ""
    for term in agreed["terms"]:
        if term["group"] != group:
            group = term["group"]
            output.data(f"{group} of {agreed['name']}" if group == "Rounds" else group)
        aside = f"change it with `{term['change']}`" if term["change"] else term["meaning"]
        output.data(f"  {term['name']:<18} {term['value']}{f'  ({aside})' if aside else ''}")


def leave(
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Without telling the others: also as its last admin.")
    ] = False,
    json: Json = False,
) -> None:
    """Leave the room; the others go on. What was trained here stays on this disk."""
    from fedtui import paths, rooms

    profile = paths.default_profile()
    room = rooms.current(profile)
    left = ask("leave", anyway=anyway) if works_for(room) else None
    if left is None:
        rooms.use(profile, None)
    told = left is not None and left["told"]
    waits = left is not None and left["waits"]
    folder = str(room.paths.root)
    if json:
        output.data_json(
            {"room": room.id, "name": room.name, "told": told, "waits": waits, "folder": folder}
        )
        return
    if waits:
        output.say(
            f"this machine's vote is needed until the round of {room.name} is decided: it leaves "
            "with the commit, and works for no room then"
        )
        return
    output.say(f"this machine works for no room any more; {room.name} stays below {folder}")
    if not told:
        output.say("the others have not been told: they see it as away, and can remove it")
