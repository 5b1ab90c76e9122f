"""Sizes and times of the interface, in one place."""

from __future__ import annotations

from typing import Final

MIN_COLUMNS: Final = 60
MIN_LINES: Final = 16
"""Below this a plate asks for a larger window: legible at 60x15, useless at 40x10."""

POLL_S: Final = 0.25
"""A node makes at most four views a second."""
POLL_LOST_S: Final = 1.0
"""Between attempts while the node does not answer."""
ANSWER_S: Final = 5.0
"""A node that is this late counts as gone."""
STOP_S: Final = 15.0
"""A node that was asked to stop gets this long before the interface leaves without it."""

TEXT_CHARS: Final = 400
"""Characters of one text ever looked at; names are far shorter, captions may not be."""
NAMES_LISTED: Final = 6
"""Names in one sentence; the rest are counted."""

SWITCH_S: Final = 0.002
"""After a change of screen, until the new one is painted."""

PICTURES_CACHED: Final = 64
"""Pictures kept as strips: six rounds of ten prompts, about 0.5 MB each at 64x32 cells."""
PIXELS_CACHED: Final = 16
"""Pictures kept as sixel, up to 0.4 MB each beside three bytes for a pixel."""
PICTURE_PIXELS: Final = 64 << 20
"""A file that claims more pixels than this is not opened."""
PICTURE_RETRY_S: Final = 1.0
"""Between looks at a picture that could not be read."""

JOURNEY_POLL_S: Final = 0.5
"""Between two looks at how far this machine is on its way to another room."""
ROOM_NAME_CHARS: Final = 64
INVITE_USES: Final = 32
"""A link of a workshop admits so many machines."""

OPERATION_S: Final = 60.0
"""An operation of the node that says nothing for so long has failed."""
ERROR_SHOWN_S: Final = 12.0
"""Long enough to read what happened, why, and what to do."""
TOAST_GONE_S: Final = 0.5
"""From the end of a toast to the picture without it."""

SLIDE_S: Final = 2.5
"""A picture of a slideshow."""
GRID_PICTURES: Final = 24
"""Pictures on the gallery at once."""
LOG_LINES: Final = 50_000
"""Lines of a log kept for scrolling; older ones are in the file."""
LOG_POLL_S: Final = 0.5
"""Between two looks at a log that is on the screen."""

WALL_SLIDE_S: Final = 8.0
"""A prompt on the wall."""

STUDIO_POLL_S: Final = 0.4
"""Between two looks at what is being drawn."""
DOWNLOAD_POLL_S: Final = 0.5
"""Between two looks at a download."""
STUDIO_REDRAW_S: Final = 0.6
"""After the last change of a weight, the picture is drawn again."""
STUDIO_PICTURES: Final = 16
"""Pictures of one drawing on the screen."""
PROMPT_CHARS: Final = 2_000
"""Of a prompt; a pasted book is cut."""
FIELD_CHARS: Final = 4_096
"""Of a line that somebody types: a path, an invite."""
PASTE_CHARS: Final = 65_536
"""Of what is pasted; the rest is not looked at."""
CAPTIONS_UNDONE: Final = 100
"""Captions that can be taken back, the newest first."""
