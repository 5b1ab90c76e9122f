"""The command tree, and the border where every exception becomes a message and an exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fedtui import __version__
from fedtui.cli import (
    adapter,
    adapters,
    combine,
    data,
    demo,
    doctor,
    evaluate,
    experiment,
    gallery,
    generate,
    learn,
    look,
    metavars,
    model,
    node,
    output,
    peer,
    room,
    tapes,
    verify,
)
from fedtui.errors import ExitCode, FedtuiError, UsageError

Pixels = Literal["kitty", "sixel"]
EPILOG = """Exit codes: 0 ok, 1 failed, 2 usage or no terminal, 3 network, 4 trust, 5 no device,
model or picture, 130 and 143 signals."""

OF_DAEMON = frozenset({"join", "log_json", "with_parent"})
OF_INTERFACE = frozenset({"wall", "observe", "ascii_only", "pictures"})

app = typer.Typer(
    name="fedtui",
    help="People on one network train an image model together. Their pictures stay at home.",
    epilog=EPILOG,
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        output.data(f"fedtui {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    daemon: Annotated[
        bool, typer.Option("--daemon", help="Run a node without a screen; the log goes to stderr.")
    ] = False,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="With --daemon: the log as JSON lines.")
    ] = False,
    data_: Annotated[
        Path | None, typer.Option("--data", help="Folder of captioned pictures to train on.")
    ] = None,
    join: Annotated[
        str, typer.Option("--join", help="With --daemon: an invite link, or a file with one.")
    ] = "",
    with_parent: Annotated[
        bool, typer.Option("--with-parent", hidden=True, help="With --daemon: stop at stdin's end.")
    ] = False,
    wall: Annotated[
        bool, typer.Option("--wall", help="The interface for a projector: large, nothing else.")
    ] = False,
    observe: Annotated[
        bool, typer.Option("--observe", help="The interface can change nothing.")
    ] = False,
    ascii_only: Annotated[
        bool, typer.Option("--ascii", help="The interface in ASCII characters only.")
    ] = False,
    pictures: Annotated[
        Pixels | None,
        typer.Option(
            "--pictures", help="Show large pictures in true pixels, also inside tmux and over ssh."
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and logs.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Without a command: the terminal interface of this machine's node."""
    output.settings.debug = debug
    _refuse_ignored(context, daemon=daemon)
    if context.invoked_subcommand is None:
        if data_ is not None:
            node.train_on(data_)
        if not daemon:
            shown = {"wall": wall, "observe": observe, "ascii_only": ascii_only}
            raise typer.Exit(node.open_interface(data_, pictures=pictures or "", **shown))
        if join:
            node.join_once(join)
        raise typer.Exit(node.run_daemon(log_json=log_json, with_parent=with_parent))


def _refuse_ignored(context: typer.Context, *, daemon: bool) -> None:
    """Raises :class:`UsageError` for an option that would change nothing."""
    given = {
        str(option.name): option.opts[0]
        for option in context.command.params
        if context.params.get(str(option.name)) and option.name != "debug"
    }
    if given and context.invoked_subcommand is not None:
        option = next(iter(given.values()))
        raise UsageError(
            f"{option} is for fedtui without a command",
            f"`fedtui {context.invoked_subcommand}` would ignore it",
            f"`fedtui {context.invoked_subcommand} --help` names the options behind the command",
        )
    for name in given.keys() & (OF_INTERFACE if daemon else OF_DAEMON):
        raise UsageError(
            f"{given[name]} is {'for the interface' if daemon else 'for a node without a screen'}",
            f"{'with' if daemon else 'without'} --daemon it would be ignored",
            "`fedtui room join` joins a room, `fedtui` then opens it" if name == "join" else "",
        )


app.add_typer(room.app, name="room", help="Make a room, let others in, join one.")
app.add_typer(data.app, name="data", help="Look at folders of pictures, make sample ones.")
app.add_typer(adapter.app, name="adapter", help="Look at adapter files, convert them.")
app.add_typer(gallery.app, name="gallery", help="Show the room's pictures to phones, as a page.")
app.add_typer(model.app, name="model", help="Download or unpack models.")
app.add_typer(experiment.app, name="experiment", help="Repeat the papers' experiments.")
app.command("demo")(demo.demo)
app.command("train")(learn.train)
app.command("generate")(generate.generate)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(adapters.export)
app.command("take-home")(adapters.take_home)
app.command("combine")(combine.combine)
app.command("verify")(verify.verify)
app.command("status")(look.status)
app.command("peers")(look.peers)
app.add_typer(peer.app, name="peer", help="Name the address of a member by hand.")
app.command("rounds")(look.rounds)
app.command("events")(look.events)
app.command("watch")(look.watch)
app.command("doctor")(doctor.doctor)
app.command("support")(doctor.support)
app.command("locate")(look.locate)
app.command("record")(tapes.record)
app.command("replay")(tapes.replay)
app.command("stop")(node.stop)


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; errors become one message on stderr."""
    command = metavars.build(app)
    try:
        result: Any = command.main(list(arguments), prog_name="fedtui", standalone_mode=True)
    except SystemExit as end:
        result = end.code
    except FedtuiError as error:
        return _report(error, error.render(), error.code)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone; writing to it again at exit would say so once more.
        sys.stderr.close()
        return ExitCode.OK
    except Exception as error:
        return _unexpected(error)
    return result if isinstance(result, int) else ExitCode.OK


def _unexpected(error: Exception) -> int:
    """Errors of the peer have the same three parts; anything else is a fault of this program."""
    title, cause, remedy = (getattr(error, part, "") for part in ("title", "cause", "remedy"))
    if title:
        known = FedtuiError(str(title), str(cause), str(remedy), code=_peer_code(error))
        return _report(error, known.render(), known.code)
    unknown = FedtuiError(
        "something went wrong that should not",
        f"{type(error).__name__}: {error}",
        "run it again with `fedtui --debug …` and report what it prints",
    )
    return _report(error, unknown.render(), unknown.code)


def _peer_code(error: Exception) -> int:
    """The exit code of an error raised by the peer, told by the names of its family."""
    families = {kind.__name__ for kind in type(error).__mro__}
    if "TrustError" in families:
        return ExitCode.TRUST
    return ExitCode.NETWORK if "NetworkError" in families else ExitCode.FAILED


def _report(error: BaseException, text: str, code: int) -> int:
    if output.settings.debug:
        traceback.print_exception(error)
    output.say(text)
    return code
