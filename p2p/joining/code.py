"""The spoken code: ``7-river-candy-bronze``.

The number finds the lobby, the three words (33 bits) are the password of SPAKE2: whoever guesses
has one try per conversation and three in all.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Final

from p2p.errors import ProtocolError
from p2p.joining.words import read_word, words

CODE_WORDS: Final = 3
MAX_NAMEPLATE: Final = 999
_SEPARATORS = re.compile(r"[\s\-_.,/]+")
_MAX_TEXT: Final = 80


@dataclass(frozen=True)
class SpokenCode:
    """``nameplate`` is public, the words are the secret."""

    nameplate: int
    words: tuple[str, str, str]

    def __str__(self) -> str:
        return "-".join((str(self.nameplate), *self.words))

    def __repr__(self) -> str:
        return f"SpokenCode({self.nameplate}, …)"

    @property
    def password(self) -> bytes:
        """What SPAKE2 takes."""
        return "-".join(self.words).encode()

    @classmethod
    def random(cls, nameplate: int) -> SpokenCode:
        first, second, third = (secrets.choice(words()) for _ in range(CODE_WORDS))
        return cls(nameplate, (first, second, third))


def looks_like_code(text: str) -> bool:
    """Whether a person may have meant a code: a number in front, then something."""
    return bool(re.match(r"\s*[0-9]{1,3}[\s\-_.,/]", text))


def parse_code(text: str) -> SpokenCode:
    """Reads a code as people write it: any case, blanks or dashes, words cut to four letters.

    Raises:
        ProtocolError: it is none; the message names what is wrong with it.
    """
    parts = _SEPARATORS.split(text[:_MAX_TEXT].strip())
    if len(parts) != 1 + CODE_WORDS:
        raise ProtocolError("a code is a number and three words, like 7-river-candy-bronze")
    number = parts[0]
    if not (number.isascii() and number.isdigit() and 1 <= int(number) <= MAX_NAMEPLATE):
        raise ProtocolError(f"a code begins with a number from 1 to {MAX_NAMEPLATE}")
    first, second, third = map(read_word, parts[1:])
    return SpokenCode(int(number), (first, second, third))
