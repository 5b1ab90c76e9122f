"""Every size, rate and duration of the network layer, with its unit, in one place.

Sizes are bytes, durations seconds, rates per second, unless the name says otherwise. Tests
that need faster ones inject them.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

# --- messages ---------------------------------------------------------------------------------
MAX_MESSAGE_BYTES: Final = 64 * KIB
MAX_LARGE_MESSAGE_BYTES: Final = 1 * MIB
"""Proposals, commits and geneses; everything else stays below ``MAX_MESSAGE_BYTES``."""
MAX_JSON_DEPTH: Final = 8
MAX_JSON_NODES: Final = 4096
MAX_LARGE_JSON_NODES: Final = 32_768
MAX_JSON_INTEGER: Final = (1 << 53) - 1
"""Above it JSON readers that use doubles disagree about the value."""
MAX_NAME_CHARS: Final = 32
MAX_NAME_CELLS: Final = 40
MAX_STATUS_BYTES: Final = 1 * KIB
MAX_CERTIFICATE_BYTES: Final = 1 * KIB
MAX_MEMBERS: Final = 128
MAX_ADMINS: Final = 16
MAX_KEY_CHANGES: Final = 16
"""Of one member: newcomers are told of each, and can be told of so many."""

# --- connections to our port ------------------------------------------------------------------
MAX_HANDSHAKES: Final = 64
MAX_HANDSHAKES_PER_HOST: Final = 8
HANDSHAKE_TIMEOUT: Final = 5.0
HANDSHAKE_GRACE: Final = 1.0
"""How long a handshake may take before another visitor may need its place more."""
TLS_SHUTDOWN_TIMEOUT: Final = 1.0
MAX_CONNECTIONS_PER_PEER: Final = 12
"""8 for messages and 4 for transfers."""
MAX_TRANSFERS_PER_PEER: Final = 4
LISTEN_BACKLOG: Final = 128
ACCEPT_RETRY_DELAY: Final = 0.5
"""Pause after accept() failed, for example because no file descriptor was left."""

# --- requests ---------------------------------------------------------------------------------
REQUEST_RATE: Final = 50.0
REQUEST_BURST: Final = 200
GOSSIP_RATE: Final = 10.0
GOSSIP_BURST: Final = 30
"""A member probes another about once a second; each packet may cost a few signature checks."""
FIRST_REQUEST_TIMEOUT: Final = 10.0
KEEPALIVE_TIMEOUT: Final = 75.0
WATCHDOG_INTERVAL: Final = 1.0
LINGERING_TIME: Final = 2.0
MAX_REQUEST_LINE_BYTES: Final = 2 * KIB
MAX_HEADER_BYTES: Final = 4 * KIB
MAX_HEADERS: Final = 32
TRANSFER_GRACE: Final = 10.0
MIN_TRANSFER_RATE: Final = 16 * KIB
"""Bytes per second of a body, in both directions; each chunk has ``TRANSFER_GRACE`` on top."""
FED_RATE: Final = 2.0 * MIN_TRANSFER_RATE
"""Bytes per second that each of several transfers over one slow line should get."""
STREAM_CHUNK_BYTES: Final = 256 * KIB
"""One write to a response: 721 MB/s under TLS, where the sendfile fallback reached 93-127."""
LOW_WATER_BYTES: Final = 32 * KIB
"""Of a long answer so much is waited for; at ``MIN_TRANSFER_RATE`` it comes within 2 seconds."""
SLOW_STREAM_BYTES: Final = 32 * KIB
SLOW_WRITE: Final = 0.25
"""After a write that took so many seconds the next one is of ``SLOW_STREAM_BYTES`` only."""
TRANSFER_SLICE: Final = 0.05
"""Seconds of a limited line that one transfer takes at a time."""
MAX_LEDGER_REPLY_BYTES: Final = 4 * MIB
MAX_LEDGER_REPLY_ENTRIES: Final = 256
MAX_LEDGERS_PER_PEER: Final = 2
"""Answers held for one member at the same time, until it has read them."""
MAX_EXHIBIT_BYTES: Final = 4 * MIB
"""Pictures of one round that a member gives another."""
EXHIBIT_TIMEOUT: Final = 60.0
"""Seconds for all of them (70 KB/s): who is slower keeps the asker from asking others."""
SHUTDOWN_TIMEOUT: Final = 1.0

# --- misbehaviour -----------------------------------------------------------------------------
SCORE_HALF_LIFE: Final = 60.0
GRAYLIST_PENALTY: Final = 90.0
"""Reached by ten invalid messages, or by 195 requests above a budget, within seconds."""
FLOOD_ALLOWANCE: Final = 100
FLOOD_WEIGHT: Final = 0.01
GRAYLIST_SECONDS: Final = 600.0
GRAYLIST_RATE: Final = 1.0
GRAYLIST_BURST: Final = 3
"""Probes that a graylisted member may still send: that it is there stays known."""

# --- requests of ours -------------------------------------------------------------------------
CONNECT_TIMEOUT: Final = 4.0
DIAL_TIMEOUT: Final = 20.0
"""For a connection as a whole: a request waits ``CONNECT_TIMEOUT`` and leaves the rest of it to
the next one."""
REQUEST_TIMEOUT: Final = 10.0
DIAL_STAGGER: Final = 0.25
CLIENT_KEEPALIVE: Final = 30.0
MAX_CLIENT_CONNECTIONS: Final = 256
MAX_CLIENT_CONNECTIONS_PER_PEER: Final = 8
MAX_QUEUED_MESSAGES: Final = 64
MAX_QUEUED_BYTES: Final = 4 * MIB
MAX_QUEUE_AGE: Final = 30.0
"""A message that waited longer is dropped: the protocol above has repeated it by then."""
SEND_BACKOFF_MIN: Final = 0.25
SEND_BACKOFF_MAX: Final = 4.0

# --- addresses and discovery ------------------------------------------------------------------
MAX_ADDRESSES_PER_PEER: Final = 8
MAX_HINTED_PEERS: Final = 512
RESOLVE_TIMEOUT: Final = 3.0
MAX_PARALLEL_RESOLVES: Final = 8
MAX_PENDING_RESOLVES: Final = 256
MAX_BROWSED_NAMES: Final = 4096
"""Records of ours on one network; with more the mDNS sockets are closed and opened anew."""
INTERFACE_POLL_INTERVAL: Final = 5.0
DISCOVERY_RETRY_MIN: Final = 5.0
DISCOVERY_RETRY_MAX: Final = 60.0
DISCOVERY_CLOSE_TIMEOUT: Final = 2.0
MAX_ROOMS_NEARBY: Final = 99
"""That are counted for somebody who belongs to none."""

MAX_SEEDS: Final = 16
SEED_INTERVAL: Final = 30.0
PATHS_SAVE_INTERVAL: Final = 5.0

FAREWELL_RETRY_MIN: Final = 2.0
FAREWELL_RETRY_MAX: Final = 600.0
"""Pauses between the tries to tell a removed machine that it was removed."""
FAREWELL_HINT_PAUSE: Final = 30.0
"""Between two of them however often mDNS shows it: whoever is on the network may claim that."""

# --- relaying ---------------------------------------------------------------------------------
MAX_RELAYED: Final = 32
MAX_RELAYED_PER_PEER: Final = 8
RELAY_RATE: Final = 8.0 * MIB
"""Bytes per second of one caller, both directions together."""
RELAY_IDLE: Final = 90.0
"""A pipe without a byte for this long ends: longer than the pools keep connections."""
DIRECT_RETRY_INTERVAL: Final = 30.0
"""How often a member that we reach through a relay is tried directly."""

# --- blobs ------------------------------------------------------------------------------------
MAX_BLOB_BYTES: Final = 1 * GIB
"""Upper end of what a room's policy may allow; the default policy is 256 MiB."""
CHUNK_BYTES: Final = 1 * MIB
"""What is verified, resumed and passed on: with 4 MiB a hand-out of 64 MB to 15 took 2.2 times as
long as to one, with 1 MiB 1.6 times (``python -m tests.benchmarks handout``)."""
ROOM_QUOTA_BYTES: Final = 20 * GIB
QUOTA_FOR_OLD_PERCENT: Final = 80
"""Share of the quota that past rounds may use; the rest is for the one under way."""
FREE_SPACE_RESERVE_BYTES: Final = 2 * GIB
FREE_SPACE_RESERVE_PERCENT: Final = 5
"""The smaller of the two reserves is kept free."""
BLOB_TRIES_PER_SOURCE: Final = 3
"""How often a member that has nothing of a blob is asked before a fetch gives up."""
BLOB_RETRY_MIN: Final = 0.2
BLOB_RETRY_MAX: Final = 3.0
MAX_SOURCES: Final = 16
"""Members asked for one blob."""
MAX_ASKS_FOR_ONE_CHUNK: Final = 3
"""Members asked at once for a blob of one chunk. In a large room everybody fetches everybody's:
when the authors were slow, 50 members asked 16 others each for 49 blobs, and nothing else got
done."""
MAX_CHUNKS_UNDER_WAY: Final = 6
"""Chunks of one blob asked for at once."""
MAX_CHUNKS_UNDER_WAY_PER_SOURCE: Final = 2
"""The second one is asked for while the first arrives, so that the line does not fall silent."""
HOLDINGS_INTERVAL: Final = 0.5
"""How often a member that lacks chunks we want is asked again."""
BUSY_PAUSE: Final = 0.25
MAX_PAUSES: Final = 60
"""A member that is busy this often in a row counts as one that failed."""
SLOW_CHUNK_SECONDS: Final = 5.0
SLOW_CHUNK_FACTOR: Final = 4.0
"""A chunk under way for longer than both is asked of a second source too."""
UPLOAD_WINDOW_BYTES: Final = 8 * CHUNK_BYTES
"""Bytes being sent to all members together. Few at a time arrive early and can be passed on."""
UPLOAD_PATIENCE: Final = 5.0
"""An upload that takes longer no longer counts against the window, and one of which nothing moved
for so long not among the streams."""
UPLOAD_PROBE: Final = 60.0
"""A line that seems to be full of slow streams is tried with one more after so long."""
UPLOAD_TURN: Final = 1.0
"""For this long after somebody was sent away, whoever is being served already waits too."""

# --- gossip -----------------------------------------------------------------------------------
PROBE_INTERVAL: Final = 1.0
PROBE_FANOUT: Final = 3
"""Members probed per interval, whatever the size of the room: everybody's load stays constant."""
PROBE_TIMEOUT: Final = 1.5
"""Long enough for one retransmitted SYN (1 s) on a lossy network."""
INDIRECT_PROBES: Final = 3
INDIRECT_TIMEOUT: Final = 2.0
"""For an indirect probe as a whole; the helper's own probe has ``PROBE_TIMEOUT`` of it."""
MAX_INDIRECT_PER_PEER: Final = 8
"""Indirect probes done for one member at the same time."""
MAX_LOCAL_HEALTH: Final = 7
"""Lifeguard: intervals and timeouts are multiplied by 1 to 8."""
STARVED_PATIENCE: Final = 5
"""From this multiple on people are told that it is their machine that is slow."""
SUSPICION_INTERVALS: Final = 4.0
"""Times log10 of the room's size (at least 1): the least time to refute a suspicion."""
SUSPICION_PATIENCE: Final = 6.0
"""An unconfirmed suspicion lasts this many times longer."""
SUSPICION_CONFIRMATIONS: Final = 3
ACCUSER_PAUSE: Final = 60.0
"""How often accusations by one member cost local health; all of them are answered."""
REFUTATIONS_PER_START: Final = 1 << 20
"""An incarnation number counts starts above this and refutations below it."""
SPREAD_INTERVAL: Final = 5.0
"""How often a Hello that says nothing new is passed on all the same."""
SYNC_INTERVAL: Final = 30.0
SYNC_SAMPLE: Final = 16
MAX_RUMOUR_BYTES: Final = 2 * KIB
"""Per packet, beside the sender's own Hello."""
MAX_RUMOURS: Final = 16
"""Statements of others in one probe."""
MAX_ANSWERED_RUMOURS: Final = 144
"""In an answer, which holds a Hello of every member when it answers a digest."""
STALL_SECONDS: Final = 5.0
"""A timer this late means that we slept or were starved: connections are dead."""
LATE_SECONDS: Final = 0.5
"""A timer this late costs local health, and nobody else is blamed for that time."""
LEAVE_TIMEOUT: Final = 1.0
LEAVE_FANOUT: Final = 16
"""Members told of our leaving directly; the others hear it from them."""

# --- joining ----------------------------------------------------------------------------------
MAX_LOBBY_FRAME_BYTES: Final = 8 * KIB
"""From a joiner; the lobby's answer carries a genesis and is bounded by its own size."""
MAX_LOBBY_SESSIONS: Final = 64
MAX_LOBBY_SESSIONS_PER_HOST: Final = 8
LOBBY_PROOF_TIMEOUT: Final = 10.0
"""From the end of the TLS handshake to the signed request."""
LOBBY_APPROVAL_TIMEOUT: Final = 300.0
LOBBY_WAITING_INTERVAL: Final = 3.0
LOBBY_REFUSAL_DELAY: Final = 0.15
"""A refused proof is answered after this: the SPAKE2 library does not run in constant time."""
LOBBY_NOTE_RATE: Final = 0.2
LOBBY_NOTE_BURST: Final = 20
"""Log lines about visitors who were not let in, per second and at once."""
LOBBY_POLL_INTERVAL: Final = 2.0
LOBBY_LINGER: Final = 30.0
"""How long the port stays open after the last invite is used: answers get lost."""
LOBBY_ADMIT_TIMEOUT: Final = 30.0
LOBBY_REPLY_TIMEOUT: Final = 30.0
LOBBY_FIND_TIMEOUT: Final = 6.0
"""For the mDNS record of a code's lobby; on a clean network it takes 0.1 to 1.2 s."""
LINK_FIND_TIMEOUT: Final = 3.0
"""For an inviter who is not where his link says."""
MAX_LOBBIES_TRIED: Final = 4
CODE_GUESSES: Final = 3
CODE_LIFETIME: Final = 10 * 60.0
LINK_LIFETIME: Final = 24 * 3600.0
MAX_INVITE_LIFETIME: Final = 366 * 24 * 3600.0
MAX_INVITE_USES: Final = MAX_MEMBERS
MAX_OPEN_INVITES: Final = 64
CLOCK_TOLERANCE: Final = 300.0
"""Two clocks further apart than this are worth a word when an invite has expired."""
