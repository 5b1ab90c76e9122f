"""Rooms: making one, letting others in, joining, and who belongs to it."""

from __future__ import annotations

import typer

from fedtui.cli.room import doors, life, members, sharing

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

app.command("create")(life.create)
app.command("list")(life.list_)
app.command("use")(life.use)
app.command("invite")(doors.invite)
app.command("invites")(doors.invites)
app.command("revoke")(doors.revoke)
app.command("join")(doors.join)
app.command("requests")(doors.requests)
app.command("approve")(doors.approve)
app.command("decline")(doors.decline)
app.command("members")(members.members)
app.command("remove")(members.remove)
app.command("promote")(members.promote)
app.command("permit")(members.permit)
app.command("new-key")(members.new_key)
app.command("threshold")(members.threshold)
app.command("changes")(members.changes)
app.command("endorse")(members.endorse)
app.command("start")(members.start)
app.command("verify")(members.verify)
app.command("history")(members.history)
app.command("share")(sharing.share)
app.command("plan")(life.plan)
app.command("recover")(life.recover)
app.command("leave")(life.leave)
