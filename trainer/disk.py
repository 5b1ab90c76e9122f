"""A disk that is full, in whatever words a library has for it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

FULL = (errno.ENOSPC, errno.EDQUOT)
_NUMBER = re.compile(r"\(os error (\d+)\)")


def is_full(error: BaseException) -> bool:
    """Whether something failed because there is no room, or no more for this user."""
    return isinstance(error, OSError) and error.errno in FULL


@contextmanager
def errors() -> Iterator[None]:
    """Failures of the system come as OSError; safetensors has them in its own family, as text."""
    from safetensors import SafetensorError  # The torch-free role asks the above only.

    try:
        yield
    except SafetensorError as error:
        found = _NUMBER.search(str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number)) from error
