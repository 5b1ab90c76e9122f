"""Sizes, rates and times of the product around the peer, in one place."""

from __future__ import annotations

from typing import Final

# --- the trainer as a child process -----------------------------------------------------------
TRAINER_START_S: Final = 180.0
"""Importing torch took 17-20 s with both cores of a laptop busy; five at once take longer."""
TRAINER_CANCEL_S: Final = 10.0
"""A cancelled request must end in this time, or its process is ended."""
TRAINER_STOP_S: Final = 3.0
"""Between asking a worker to stop, SIGTERM and SIGKILL."""
TRAINER_REQUESTS_MAX: Final = 64
"""Requests a worker may owe answers to at once."""
TRAINER_LOG_BYTES: Final = 1 << 20
TRAINER_LOG_FILES: Final = 2
NODE_LOG_BYTES: Final = 4 << 20
NODE_LOG_FILES: Final = 2
TRAINER_LAST_WORDS: Final = 12
"""Lines of a worker's stderr kept for the message that says why it died."""

# --- another room -----------------------------------------------------------------------------
NEARBY_S: Final = 5.0
"""Of listening for rooms that announce themselves."""
MOVED_TOLD_S: Final = 1.0
"""Between the end of a journey and the end of the node, so that the one who waits hears of it."""

# --- the terminal -----------------------------------------------------------------------------
TERMINAL_ANSWER_S: Final = 2.0
"""A terminal answers in milliseconds; kitty that had just opened took more than 100, and an answer
that comes too late is taken for keys."""
TERMINAL_ANSWER_BYTES: Final = 4_096

# --- the node ---------------------------------------------------------------------------------
VIEW_INTERVAL_S: Final = 0.25
STATUS_INTERVAL_S: Final = 1.0
STATE_RETRY_S: Final = 2.0
"""Between two tries to get the adapter that a round starts from."""
TRAIN_RETRIES: Final = 3
"""Times a round's training is tried again after the trainer failed, before the round is left."""
TRAIN_RETRY_WAIT_S: Final = 2.0
PROGRESS_EVENT_INTERVAL_S: Final = 1.0
VIEW_EVENTS: Final = 200
VIEW_LOSSES: Final = 1_000
VIEW_PREVIEWS: Final = 400
VIEW_COMMITS: Final = 200
PROVENANCE_BYTES: Final = 256 << 20
"""The record beside an exported adapter: a few kilobytes for each round."""
STATISTICS_KEPT: Final = 200
"""Rounds whose statistics a node remembers."""
TRAFFIC_STEP_S: Final = 5.0
TRAFFIC_STEPS: Final = 60
"""Five minutes of traffic, as fine as a wide terminal shows it."""
TIMES_KEPT: Final = 100
"""Rounds of which a node remembers who was done when: 3 KiB each with 30 members."""

# --- pictures on demand -----------------------------------------------------------------------
DRAWING_PICTURES: Final = 256
"""In one job."""
DRAWING_JOBS_WAITING: Final = 16
DRAWING_JOBS_KEPT: Final = 50
"""Ended jobs that are still listed."""
DRAWING_EVENT_INTERVAL_S: Final = 0.5
LEFT_OUT_KEPT: Final = DRAWING_JOBS_WAITING
"""Rounds without one contribution whose adapters stay on the disk: a waiting job needs its own."""
LEAVE_OUT_S: Final = 600.0
"""For combining a round anew: a large room's takes as long as the round's own combination."""
TAKE_HOME_S: Final = 600.0
"""For packing an adapter and all pictures: a large one is gigabytes, on a laptop's disk."""
COMPARISON_S: Final = 6 * 3600.0
"""For drawing it: the pictures wait for the training of a round, which may take hours on a CPU."""

# --- events -----------------------------------------------------------------------------------
EVENTS_KEPT: Final = 4_000
"""Events held in memory for readers that come late."""
EVENTS_FILE_BYTES: Final = 8 << 20
EVENTS_FILES: Final = 3
EVENT_QUEUE: Final = 1_000
"""Events waiting for one slow reader before the oldest of them are dropped."""

LOG_CHUNK_BYTES: Final = 256 << 10
"""Of a log file, in one answer."""
LOG_CHUNK_EVENTS: Final = 500
"""In one answer, with their fields: some hundred kilobytes."""
LOG_TAIL_BYTES: Final = 4 << 20
"""A log is shown from so far before its end."""

# --- the control API --------------------------------------------------------------------------
CONTROL_BODY_BYTES: Final = 64 << 10
CONTROL_LINE_BYTES: Final = 1 << 20
CONTROL_CONNECTIONS: Final = 32
CONTROL_TIMEOUT_S: Final = 10.0
CONTROL_VIEW_BYTES: Final = 16 << 20
UNIX_SOCKET_PATH_BYTES: Final = 100
"""Linux takes 107 bytes, macOS 103; longer profile paths get a socket in the temporary folder."""

# --- the demo ---------------------------------------------------------------------------------
DEMO_NODE_START_S: Final = 60.0
DEMO_MEET_S: Final = 60.0
"""After which nodes on one machine that have not met never will: loopback or multicast is off."""
DEMO_STOP_S: Final = 12.0
DEMO_SAMPLE_S: Final = 2.0
"""Between two looks at the memory of all processes."""
DEMO_LAST_PREVIEWS_S: Final = 180.0
DEMO_VIEW_S: Final = 10.0
"""For a node's view to catch up with its last commit."""

LIBRARY_FILES: Final = 500
"""Adapter files listed at once."""
MERGED_ADAPTERS: Final = 16
"""Merged into one: the ranks of all add up."""
SHELF_NAME_CHARS: Final = 80
MERGE_S: Final = 600.0
"""For merging: adapters of large models are gigabytes, read and written on a laptop's disk."""

DOWNLOAD_ASK_S: Final = 120.0
"""For asking the hub: a process starts, and the hub gets as long as its client allows."""
DOWNLOADS_KEPT: Final = 20
"""Downloads of base models that are still told of."""

# --- recordings -------------------------------------------------------------------------------
TAPE_BYTES: Final = 256 << 20
TAPE_LINES: Final = 200_000
"""Views of a recording that are read: fourteen hours at four a second."""

# --- rooms ------------------------------------------------------------------------------------
TRUST_EVENTS_READ: Final = 10_000
EXHIBIT_LOOK_S: Final = 5.0
"""How often a machine that draws no previews looks for those of others."""
EXHIBIT_SIDE: Final = 2048
"""Pixels each way of a picture that somebody else drew."""
ENDORSEMENT_WAIT_S: Final = 20.0
"""A newcomer stays at the door for so long while another admin signs: below the lobby's own limit
for an admission, after which the newcomer is told to come again."""
ROOM_OPERATION_S: Final = 40.0
"""A change of the membership waits for the disk and for other admins' nodes."""
INVITE_FILE_BYTES: Final = 4096

DOCTOR_DISK_BYTES = 4 << 30
"""Free space below which a doctor warns: a room keeps 2 GiB free for others."""
DOCTOR_MEMORY_BYTES = 2 << 30
DOCTOR_NODE_S = 5.0
"""How long a node may take to answer a doctor."""

SUPPORT_EVENTS = 2_000
"""Newest events in a support bundle."""
SUPPORT_LOG_BYTES = 1 << 20
"""Of each log's end in a support bundle."""

MIN_BANDWIDTH_KIB: Final = 64
"""Per second: what a user may not limit transfers below, because others would give up on us."""
FORK_SPREAD_S: Final = 2.0
"""How long a node stays in a room it has forked, so that the others hear of it."""

# --- the page for people without the program ----------------------------------------------------
PAGE_RENEW_S: Final = 30
PAGE_HOURS: Final = 12.0
"""A page that everybody forgot closes by itself after so long."""
PAGE_HOURS_MOST: Final = 24.0 * 14
PAGE_CONNECTIONS: Final = 128
PAGE_CONNECTIONS_EACH: Final = 12
"""From one address; a browser opens six."""
PAGE_SILENCE_S: Final = 60.0
"""A connection without a new request for so long is cut, whatever it waits for."""
PAGE_RATE: Final = 20.0
"""Requests per second from one address on average; a page of 30 rounds and 8 prompts asks for 241
at once, so many more may come in a burst."""
PAGE_BURST: Final = 500.0
PAGE_GUESS_RATE: Final = 0.5
"""Requests per second with a wrong token from one address."""
PAGE_GUESS_BURST: Final = 20.0
PAGE_VISITORS: Final = 1024
"""Addresses whose rates are remembered."""
PAGE_PICTURE_BYTES: Final = 32 << 20
PAGE_PICTURES_READ: Final = 4
"""Read from the disk at once."""
