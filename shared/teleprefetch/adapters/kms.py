"""Digests under a key that never leaves AWS KMS."""

from typing import TYPE_CHECKING

from teleprefetch.adapters.aws_errors import in_our_words

if TYPE_CHECKING:
    from mypy_boto3_kms.client import KMSClient


class KmsLookupKeys:
    """`ports.LookupKeys` by one HMAC key: who may look a patient up is who may use the key.

    Each use is in CloudTrail ("HMAC keys in AWS KMS", KMS developer guide).
    """

    def __init__(self, client: "KMSClient", key_id: str) -> None:
        self._client = client
        self._key_id = key_id

    def key_of(self, kind: str, words: str) -> str:
        """40 hex digits of the HMAC-SHA-256 of the kind and the words."""
        with in_our_words("lookup key"):
            answer = self._client.generate_mac(
                KeyId=self._key_id,
                Message=f"{kind}\x1f{words}".encode(),
                MacAlgorithm="HMAC_SHA_256",
            )
        return answer["Mac"].hex()[:40]
