"""Sizes and durations of the round driver; seconds and counts."""

from __future__ import annotations

from typing import Final

MAX_QUEUED_EVENTS: Final = 4096
MAX_QUEUED_EVENTS_PER_PEER: Final = 256
REFUSED_RATE: Final = 0.2
REFUSED_BURST: Final = 20
"""Refused messages of one member that are told of, per second and at once."""
MAX_PARALLEL_CHECKS: Final = 4
BLOB_CHECK_TRIES: Final = 3
BLOB_CHECK_TIMEOUT: Final = 900.0
"""For the bytes of one contribution; what has come by then is kept for the next try."""
BLOB_CHECK_RETRY_DELAY: Final = 1.0
KEPT_INPUT_ROUNDS: Final = 50
"""Contributions older than this are deleted unless the user says otherwise: their rounds can no
longer be recomputed here."""
RETENTION_PAUSE: Final = 20.0
MAX_COMPUTING_PATIENCE: Final = 120.0
"""How long an attempt may last because this node is still computing the result itself."""
MAX_PARALLEL_LEDGERS: Final = 2
"""Members that are asked for their ledgers at the same time: one that stalls holds up nobody."""
LEDGER_TIMEOUT: Final = 60.0
"""For all that one member has; what has come by then is kept."""
LEDGER_PAUSE: Final = 10.0
"""How long a member is asked no more that had less than it said, or gave it too slowly."""
APPLY_RETRY_DELAY: Final = 1.0
ALIVE_INTERVAL: Final = 0.5
"""How often the state machine is told who is there."""
DISCOVERY_GRACE: Final = 15.0
"""After a start, members not heard of yet count as present for this long: a room whose members
start together must not begin without those that mDNS finds a second later."""
