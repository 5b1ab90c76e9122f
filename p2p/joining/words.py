"""Numbers as words that can be read out: spoken codes and fingerprints.

The 2,048 words are those of BIP-39 (github.com/bitcoin/bips): common, none a prefix of four
letters of another, so that a typing error is noticed and four letters are enough.
"""

from __future__ import annotations

import difflib
import hashlib
from functools import cache
from importlib import resources
from typing import Final

from p2p.errors import ProtocolError
from p2p.identity import public_key_of

BITS_PER_WORD: Final = 11
FINGERPRINT_WORDS: Final = 6
_UNIQUE_LETTERS: Final = 4
_MAX_LETTERS: Final = 16


@cache
def words() -> tuple[str, ...]:
    """The list, in its order."""
    text = resources.files(__package__).joinpath("words.txt").read_text(encoding="ascii")
    listed = tuple(text.split())
    assert len(listed) == 1 << BITS_PER_WORD
    return listed


@cache
def _by_prefix() -> dict[str, str]:
    return {word[:_UNIQUE_LETTERS]: word for word in words()}


def read_word(text: str) -> str:
    """The listed word that was meant: itself, or its first four letters or more.

    Raises:
        ProtocolError: no such word; the nearest one is named.
    """
    typed = text.strip().lower()[:_MAX_LETTERS]
    known = _by_prefix().get(typed[:_UNIQUE_LETTERS])
    if known is not None and known.startswith(typed):
        return known
    near = difflib.get_close_matches(typed, words(), n=1, cutoff=0.6) if typed.isascii() else []
    hint = f"did you mean {near[0]!r}?" if near else "it is not one of the words of codes"
    raise ProtocolError(f"{typed[:_MAX_LETTERS]!r} is no word of a code: {hint}")


def as_words(data: bytes, count: int) -> tuple[str, ...]:
    """The first ``count`` groups of 11 bits of ``data`` as words."""
    bits = int.from_bytes(data, "big")
    shift = 8 * len(data) - BITS_PER_WORD
    mask = (1 << BITS_PER_WORD) - 1
    return tuple(words()[bits >> (shift - BITS_PER_WORD * i) & mask] for i in range(count))


def fingerprint_words(peer_id: str) -> tuple[str, ...]:
    """Six words (66 bits) of an identity, for two people to compare by voice."""
    return as_words(_fingerprint(peer_id), FINGERPRINT_WORDS)


def fingerprint_hex(peer_id: str) -> str:
    """The same 64 leading bits in hexadecimal, in groups of four digits."""
    digits = _fingerprint(peer_id)[:8].hex()
    return " ".join(digits[i : i + 4] for i in range(0, len(digits), 4))


def _fingerprint(peer_id: str) -> bytes:
    return hashlib.sha256(b"fedtui/v1 fingerprint\0" + public_key_of(peer_id)).digest()
