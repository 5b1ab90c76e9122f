"""Limits and constants of the trainer, with units."""

from __future__ import annotations

# --- the worker ---------------------------------------------------------------------------------

MAX_WAITING_REQUESTS = 64
PROGRESS_INTERVAL = 0.2
"""Seconds between two progress messages of one request; what comes sooner is dropped."""
STOP_GRACE = 10.0
"""Seconds a request gets to notice that the worker must end, before it ends anyway."""
MAX_WISHES = 16
"""Wishes to one running request that wait; more are forgotten."""
STEERING_POLL = 0.05
"""Seconds between two looks for a wish while training is paused."""
PARENT_POLL_INTERVAL = 2.0
"""Seconds between two looks whether the parent still lives."""
ARITHMETIC_ADDRESS_SPACE = 2 << 30
"""Bytes of address space of a worker that reads strangers' files."""
NICENESS = 5
"""How far a training process steps back behind others on its machine, of 19."""
MAX_THREADS = 8
"""Default ceiling of CPU threads; ``FEDTUI_THREADS`` sets another number."""

HUB_TIMEOUT = 20.0
"""Seconds to wait for the hub's list of a model's files."""

# --- pictures -----------------------------------------------------------------------------------

MIN_SIDE = 32
"""Pixels; a smaller picture teaches a model only its own enlargement."""
MAX_PIXELS = 50_000_000
"""Pixels in one picture (150 MB decoded); more is taken for a decompression bomb."""
MAX_FILE_BYTES = 256 << 20
MAX_FILES = 100_000
MAX_METADATA_BYTES = 64 << 20
MAX_CAPTIONS = 64
"""Captions of one picture."""
MAX_REPEATS = 10_000
MAX_CROPS = 64
"""Places that one picture is cut out at."""
MAX_ASPECT = 3.0
"""Longest side of a bucket by its shortest."""
CACHE_BYTES = 20 << 30
"""Largest size of a folder of encoded pictures; the entries longest unused go first."""
LISTED_PICTURES = 200
LISTED_PROBLEMS = 200
LISTED_SIZES = 50
LISTED_TAGS = 50
LISTED_TAG = 80
"""Characters of one of them."""
MAX_RESOLUTION = 2048
"""Pixels along one side of a trained or generated picture."""

# --- tensor files -------------------------------------------------------------------------------

MAX_HEADER = 1 << 20
"""Bytes in the header of an adapter file; Stable Diffusion 1.5 needs 45 KB."""
MAX_MODEL_HEADER = 16 << 20
"""Bytes in the header of the user's own model file."""
MAX_METADATA = 4 << 10
"""Bytes of ``__metadata__`` in a stranger's file."""
MAX_ABSOLUTE = 1e4
"""Largest magnitude in a contribution; trained factors stay below 10."""
MIN_NORM = 1e-8
MAX_NORM = 1e6
"""Euclidean norm of a whole contribution."""
MAX_RANK = 4096

# --- aggregation --------------------------------------------------------------------------------

MAX_WEIGHT = 1 << 29
"""Weights stay below it: 24 bits of a float32 times 29 bits are exact in float64."""
MAX_INPUTS = 1024

# --- training and generation --------------------------------------------------------------------

MAX_STEPS = 1_000_000
MAX_BATCH = 1024
MAX_PROXIMAL = 1e3
"""FedProx's μ; 1e-3 to 1 is usual."""
CHECKPOINT_STEPS = 10
CHECKPOINT_INTERVAL = 5.0
"""A checkpoint is written at a multiple of so many steps, once so many seconds have passed."""
CHECKPOINT_SHARE = 0.005
"""Largest share of the time that goes into checkpoints; whole models take seconds to write."""
EMA_POWER = 0.75
"""A moving average's decay after n steps is 1 - (1 + n)^-power, up to its ceiling."""
VALIDATION_DRAWS = 4
"""Noise levels per picture held out."""
MAX_PICTURES = 4096
"""Pictures in one request to generate."""
MAX_SAMPLING_STEPS = 1000
MAX_DRAWN_AT_ONCE = 256
MAX_ADAPTERS = 16
"""Adapters that one picture is drawn with."""
MAX_ADAPTER_WEIGHT = 100.0
PREVIEW_INTERVAL = 0.5
"""Seconds between two looks at a picture that is being drawn."""
MAX_DRAWS = 256
MAX_SHEET_CELLS = 1024
"""Pictures on one contact sheet."""
EVALUATION_BATCH = 8
CLASSIFIER_TRIALS = 100
"""Freshly drawn scenes on which the style classifier's accuracy is measured; about a second."""
