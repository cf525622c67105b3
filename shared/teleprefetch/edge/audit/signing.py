"""The keys that sign checkpoints: Ed25519 (RFC 8032), in PEM files."""

import os
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from teleprefetch.domain.audit.checkpoint import IsSigned
from teleprefetch.errors import InvalidPayloadError

Sign = Callable[[bytes], bytes]


def make_key(path: Path) -> Path:
    """Make a private key at `path` and its public key beside it (`.pub`), whose path it returns.

    Raises:
        InvalidPayloadError: there is a file already, or it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    public_path = path.with_name(path.name + ".pub")
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret)
        public_path.write_bytes(public)
    except OSError as error:
        raise InvalidPayloadError("key: there is one already, or it cannot be written") from error
    return public_path


def signer(path: Path) -> Sign:
    """What signs with the private key in a file.

    Raises:
        InvalidPayloadError: it is no Ed25519 key in PEM without a password.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidPayloadError("audit key: no readable private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise InvalidPayloadError("audit key: not an Ed25519 key")
    return key.sign


def verifier(path: Path) -> IsSigned:
    """What tells whether a message was signed by the private key of the public key in a file.

    Raises:
        InvalidPayloadError: it is no Ed25519 public key in PEM.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise InvalidPayloadError("audit key: no readable public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise InvalidPayloadError("audit key: not an Ed25519 key")
    public = key

    def is_signed(message: bytes, signature: bytes) -> bool:
        try:
            public.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return is_signed
