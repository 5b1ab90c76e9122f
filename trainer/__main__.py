"""``python -m trainer [--role full|arithmetic]``: a worker on stdin and stdout."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from trainer.config import ARITHMETIC_ADDRESS_SPACE, NICENESS, PARENT_POLL_INTERVAL


def main() -> int:
    """Serves requests until the conversation ends."""
    parser = argparse.ArgumentParser(prog="python -m trainer", description=__doc__)
    parser.add_argument("--role", choices=("full", "arithmetic"), default="full")
    role = parser.parse_args().role
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )
    sink = private_stdout()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if role == "arithmetic":
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        limit_memory()
    else:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        yield_to_others()
    # After the environment and the limit are set: numpy and torch read both when imported.
    from trainer.protocol import Ready
    from trainer.worker import Worker

    if int(os.environ.get("RANK", "0")) > 0:
        return follow()
    # Not sys.stdin: the interpreter would close it at its end, under the reading thread.
    worker = Worker(os.fdopen(os.dup(0), "rb"), sink)
    device = "cpu"
    if role == "full":
        from trainer.measures import requests as measures
        from trainer.studio import Studio

        studio = Studio()
        worker.handlers |= {**studio.handlers(), **measures.HANDLERS}
        device = studio.device_name
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=worker.stop).start())
    worker.say(Ready(role, device, os.getpid()))
    worker.run()
    return 0


def follow() -> int:
    """A further process of ``accelerate launch``: it trains along and ends with the first."""
    from trainer.studio import Studio

    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Studio().follow()
    return 0


def end_with_parent() -> None:
    """The launcher's end is ours."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(PARENT_POLL_INTERVAL)
    os._exit(1)


def private_stdout() -> BinaryIO:
    """The real stdout for messages; whatever libraries print goes to stderr from now on."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return sink


def yield_to_others() -> None:
    """Training takes what is left over: the node and the screen on this machine go first."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    # Linux shares the processor among sessions first (CONFIG_SCHED_AUTOGROUP): in a session of
    # one's own the niceness of a process counts for nothing, only the session's.
    if hasattr(os, "getsid") and os.getsid(0) == os.getpid():
        with suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(NICENESS), encoding="ascii")


def limit_memory() -> None:
    """Caps the address space, where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    ceiling = ARITHMETIC_ADDRESS_SPACE
    if hard != resource.RLIM_INFINITY:
        ceiling = min(ceiling, hard)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))


if __name__ == "__main__":
    sys.exit(main())
