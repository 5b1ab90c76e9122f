"""Keys, peer ids and the certificate template."""

from __future__ import annotations

import datetime
import hashlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from p2p.errors import ProtocolError, TrustError
from p2p.identity import Identity, check_certificate, peer_id_of, public_key_of, verify
from p2p.limits import MAX_CERTIFICATE_BYTES

# RFC 8032, section 7.1, test 1.
RFC_SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
RFC_SIGNATURE = bytes.fromhex(
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
    "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
GOLDEN_CERTIFICATE = "0710398c56a27e0bc2e6f4f6c584116dd2bfbfad051646bf096781fc7bb8dae5"


def test_the_key_and_signature_are_those_of_rfc_8032() -> None:
    identity = Identity.from_seed(RFC_SEED)
    assert identity.public_key == RFC_PUBLIC
    assert identity.sign(b"") == RFC_SIGNATURE
    assert verify(identity.peer_id, RFC_SIGNATURE, b"")


def test_a_peer_id_is_the_key_in_52_characters() -> None:
    identity = Identity.from_seed(RFC_SEED)
    assert identity.peer_id == "25njqamcweflpvkl73j4szahhihoc4xt3ktcgjnpaingr5yhkena"
    assert len(identity.peer_id) == 52
    assert public_key_of(identity.peer_id) == RFC_PUBLIC


@given(st.binary(min_size=32, max_size=32))
def test_every_key_survives_its_peer_id(key: bytes) -> None:
    assert public_key_of(peer_id_of(key)) == key


def test_only_one_spelling_of_a_peer_id_is_accepted() -> None:
    peer_id = peer_id_of(bytes(32))
    accepted = []
    for last in "abcdefghijklmnopqrstuvwxyz234567":
        try:
            public_key_of(peer_id[:-1] + last)
        except ProtocolError:
            continue
        accepted.append(last)
    assert accepted == ["a", "q"], "51 characters leave one bit of the key for the last one"


@pytest.mark.parametrize("bad", ["", "a" * 51, "a" * 53, "A" * 52, "1" * 52, "a" * 51 + "\n"])
def test_what_is_no_peer_id_is_refused(bad: str) -> None:
    with pytest.raises(ProtocolError):
        public_key_of(bad)
    assert not verify(bad, bytes(64), b"")


@given(st.text(), st.binary(), st.binary())
def test_verify_never_raises(peer_id: str, signature: bytes, data: bytes) -> None:
    assert not verify(peer_id, signature, data)


def test_a_changed_message_or_signature_does_not_verify() -> None:
    identity = Identity.from_seed(RFC_SEED)
    signature = bytearray(identity.sign(b"data"))
    assert not verify(identity.peer_id, bytes(signature), b"dat4")
    signature[10] ^= 1
    assert not verify(identity.peer_id, bytes(signature), b"data")


# --- the key file ---------------------------------------------------------------------------
def test_the_key_file_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "profile" / "identity.key"
    first = Identity.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["identity.key"]
    before = path.read_bytes()
    assert Identity.load_or_create(path).peer_id == first.peer_id
    assert path.read_bytes() == before


def test_two_first_starts_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: Identity.load_or_create(path).peer_id, range(8)))
    assert len(ids) == 1


def test_a_damaged_key_is_reported_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    Identity.load_or_create(path)
    path.write_bytes(b"not a key")
    with pytest.raises(TrustError, match="damaged"):
        Identity.load_or_create(path)
    assert path.read_bytes() == b"not a key"


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity.key"
    Identity.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(TrustError) as caught:
        Identity.load_or_create(path)
    assert "chmod 600" in caught.value.remedy


# --- the certificate ------------------------------------------------------------------------
def test_the_certificate_has_golden_bytes() -> None:
    der = Identity.from_seed(RFC_SEED).certificate_der()
    assert len(der) <= MAX_CERTIFICATE_BYTES
    assert hashlib.sha256(der).hexdigest() == GOLDEN_CERTIFICATE


def test_other_software_reads_the_certificate_as_meant() -> None:
    identity = Identity.from_seed(RFC_SEED)
    certificate = x509.load_der_x509_certificate(identity.certificate_der())
    certificate.verify_directly_issued_by(certificate)
    assert certificate.public_key().public_bytes_raw() == RFC_PUBLIC
    assert certificate.subject == certificate.issuer
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value == identity.peer_id
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca
    assert certificate.not_valid_before_utc.year == 1970
    assert certificate.not_valid_after_utc.year == 9999


def test_our_own_certificate_is_accepted() -> None:
    identity = Identity.from_seed(RFC_SEED)
    check_certificate(identity.certificate_der(), identity.peer_id)


def test_a_certificate_with_any_byte_changed_is_refused() -> None:
    identity = Identity.from_seed(RFC_SEED)
    der = identity.certificate_der()
    for at in range(len(der)):
        changed = bytearray(der)
        changed[at] ^= 0x01
        with pytest.raises(TrustError):
            check_certificate(bytes(changed), identity.peer_id)


@given(st.binary(max_size=2048))
def test_arbitrary_bytes_are_no_certificate(der: bytes) -> None:
    with pytest.raises(TrustError):
        check_certificate(der, peer_id_of(RFC_PUBLIC))


def foreign_certificate(
    key: Ed25519PrivateKey | rsa.RSAPrivateKey, name: str, *, ca: bool
) -> bytes:
    """A self-signed certificate as other software would make it."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    algorithm = hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(1970, 1, 1))
        .not_valid_after(datetime.datetime(9999, 12, 31, 23, 59, 59))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .sign(key, algorithm)
        .public_bytes(Encoding.DER)
    )


def test_the_template_is_what_other_software_would_make() -> None:
    key = Ed25519PrivateKey.from_private_bytes(RFC_SEED)
    identity = Identity(key)
    assert foreign_certificate(key, identity.peer_id, ca=False) == identity.certificate_der()


def test_certificates_outside_the_template_are_refused() -> None:
    key = Ed25519PrivateKey.from_private_bytes(RFC_SEED)
    identity, other = Identity(key), Identity.from_seed(bytes(32))
    rsa_key = rsa.generate_private_key(65537, 2048)
    for der in (
        foreign_certificate(key, identity.peer_id, ca=True),
        foreign_certificate(key, other.peer_id, ca=False),
        foreign_certificate(rsa_key, identity.peer_id, ca=False),
        other.certificate_der(),
        identity.certificate_der() + b"\0",
        identity.certificate_der() * 2,
        identity.certificate_der() + bytes(MAX_CERTIFICATE_BYTES),
    ):
        with pytest.raises(TrustError):
            check_certificate(der, identity.peer_id)
