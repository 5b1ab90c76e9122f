"""Who a machine is: one Ed25519 key per installation, and the certificate made from it.

A peer id is the public key itself (base32, lower case, no padding, 52 characters), so checking a
signature needs no look-up. The certificate is a pure function of the key: exact bytes around the
public key and one signature, valid 1970-9999 because laptops boot with wrong clocks and because
membership, not expiry, revokes.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import secrets
import stat
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from p2p.durable import sync_directory
from p2p.errors import ProtocolError, StorageError, TrustError
from p2p.limits import MAX_CERTIFICATE_BYTES

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
_PEER_ID = re.compile(r"[a-z2-7]{52}")


def peer_id_of(public_key: bytes) -> str:
    """The peer id of a raw 32-byte Ed25519 public key."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise ProtocolError(f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(public_key)}")
    return base64.b32encode(public_key).decode().rstrip("=").lower()


@lru_cache(maxsize=1024)
def public_key_of(peer_id: str) -> bytes:
    """The raw public key inside a peer id.

    52 characters hold 260 bits, so sixteen spellings decode to the same key: only the one that
    :func:`peer_id_of` writes is accepted, or one machine could pass for several.

    Raises:
        ProtocolError: not a peer id.
    """
    if not _PEER_ID.fullmatch(peer_id):
        raise ProtocolError("a peer id has 52 characters out of a-z and 2-7")
    try:
        key = base64.b32decode(peer_id.upper() + "====")
    except binascii.Error as error:
        raise ProtocolError("a peer id is not base32") from error
    if peer_id_of(key) != peer_id:
        raise ProtocolError("a peer id has stray bits in its last character")
    return key


def verify(peer_id: str, signature: bytes, data: bytes) -> bool:
    """Whether ``signature`` over ``data`` was made with the key that ``peer_id`` names."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key_of(peer_id)).verify(signature, data)
    except (InvalidSignature, ProtocolError, ValueError):
        return False
    return True


class Identity:
    """The key pair of this installation. The private key never leaves it except into ``ssl``."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key: Final = key.public_key().public_bytes_raw()
        self.peer_id: Final = peer_id_of(self.public_key)

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"

    @classmethod
    def from_seed(cls, seed: bytes) -> Identity:
        """The identity derived from 32 secret bytes (RFC 8032 private key)."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """Reads the key at ``path``, or makes one there on the first start. Never overwrites.

        The key is on disk, with its directory entry, before this returns.

        Raises:
            TrustError: others may read the file, or it holds no Ed25519 key.
            StorageError: it can be neither read nor written.
        """
        try:
            return cls._load(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StorageError(f"the identity key {path} cannot be read: {error}") from error
        cls(Ed25519PrivateKey.generate()).save(path)
        try:
            return cls._load(path)
        except OSError as error:
            raise StorageError(f"the identity key {path} cannot be read: {error}") from error

    def save(self, path: Path) -> None:
        """Puts this key at ``path`` too, durably; leaves alone what is there already.

        Raises:
            StorageError: the disk refuses.
        """
        try:
            _publish_secret(path, self.private_key_pem())
        except OSError as error:
            raise StorageError(f"the identity key {path} cannot be written: {error}") from error

    @classmethod
    def _load(cls, path: Path) -> Identity:
        if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise TrustError(
                f"other users may read the identity key {path}",
                remedy=f"Run: chmod 600 {path}",
            )
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (ValueError, TypeError) as error:
            raise TrustError(
                f"{path} is damaged or is no private key",
                remedy="Restore it from a backup, or move it away and join your rooms again.",
            ) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise TrustError(f"{path} holds a key of another kind than Ed25519")
        return cls(key)

    def sign(self, data: bytes) -> bytes:
        """The 64-byte Ed25519 signature over ``data``. Callers sign only tagged bytes
        (:func:`p2p.envelope.signed_bytes`), so that no signature means two things."""
        return self._key.sign(data)

    def private_key_pem(self) -> bytes:
        """PKCS#8 PEM, unencrypted: what the key file and ``ssl`` need."""
        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def certificate_der(self) -> bytes:
        """The self-signed X.509 certificate of this key: the same bytes on every call."""
        return _certificate(self.peer_id, self.sign(_to_be_signed(self.peer_id)))


def check_certificate(der: bytes, peer_id: str) -> None:
    """Accepts only the certificate that :meth:`Identity.certificate_der` makes for ``peer_id``.

    Everything except the signature must equal the template byte for byte, which rules out other
    key types, CA certificates, foreign names, extensions and dates without parsing anything.

    Raises:
        TrustError: any other certificate.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise TrustError(f"a certificate has more than {MAX_CERTIFICATE_BYTES} bytes")
    body = _to_be_signed(peer_id)
    signature = der[-SIGNATURE_BYTES:]
    if len(signature) != SIGNATURE_BYTES or der != _certificate(peer_id, signature):
        raise TrustError(f"a certificate is not the one fedtui makes for {peer_id}")
    if not verify(peer_id, signature, body):
        raise TrustError(f"a certificate is not signed by {peer_id}")


def certificate_owner(der: bytes) -> str:
    """The peer id that a certificate was made for and by.

    Raises:
        TrustError: it is not a certificate that fedtui makes.
    """
    # The template has fixed lengths: the key stands where it stands in every certificate.
    key = der[_KEY_OFFSET : _KEY_OFFSET + PUBLIC_KEY_BYTES]
    if len(key) != PUBLIC_KEY_BYTES:
        raise TrustError("a certificate is not one that fedtui makes")
    peer_id = peer_id_of(key)
    check_certificate(der, peer_id)
    return peer_id


# --- the certificate template ---------------------------------------------------------------
# RFC 5280 and RFC 8410, DER. Every length is fixed, because peer id, key and signature are.
_ED25519: Final = bytes.fromhex("300506032b6570")
_VERSION_3: Final = bytes.fromhex("a003020102")
_SERIAL_1: Final = bytes.fromhex("020101")
_COMMON_NAME: Final = bytes.fromhex("0603550403")
_VALIDITY: Final = b"\x30\x20" + b"\x17\x0d" + b"700101000000Z" + b"\x18\x0f" + b"99991231235959Z"
_NOT_A_CA: Final = bytes.fromhex("a310300e300c0603551d130101ff04023000")
"""extensions: basicConstraints, critical, empty (cA FALSE)."""


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content


def _to_be_signed(peer_id: str) -> bytes:
    name = _der(0x30, _der(0x31, _der(0x30, _COMMON_NAME + _der(0x0C, peer_id.encode()))))
    public_key = _der(0x30, _ED25519 + _der(0x03, b"\0" + public_key_of(peer_id)))
    return _der(
        0x30,
        _VERSION_3 + _SERIAL_1 + _ED25519 + name + _VALIDITY + name + public_key + _NOT_A_CA,
    )


def _certificate(peer_id: str, signature: bytes) -> bytes:
    return _der(0x30, _to_be_signed(peer_id) + _ED25519 + _der(0x03, b"\0" + signature))


_KEY_OFFSET: Final = _certificate(peer_id_of(bytes(range(32))), bytes(SIGNATURE_BYTES)).index(
    bytes(range(32))
)


# --- the key file ---------------------------------------------------------------------------
def _publish_secret(path: Path, content: bytes) -> None:
    """Writes a 0600 file that appears whole or not at all, durably, and replaces nothing."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # link, not rename: of two first starts at once exactly one key survives, for both.
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    sync_directory(path.parent)
