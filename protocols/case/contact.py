"""The `contact` word of a case on chain: fresh random bytes, and the language that the patient asks to be read in.

It names nobody: the patient's wallet is told to the panel by the case account's signature (`authority`) and to
nobody else.
"""

from __future__ import annotations

SALT_BYTES = 24
LANGUAGE_BYTES = 8


def contact(salt: bytes, language: str) -> bytes:
    """32 bytes: a random salt, so that cases do not link, then the language tag in ASCII, padded with zeros."""
    tag = language.encode("ascii", "ignore")[:LANGUAGE_BYTES]
    return salt[:SALT_BYTES].ljust(SALT_BYTES, b"\0") + tag.ljust(LANGUAGE_BYTES, b"\0")


def language_of(word: bytes) -> str:
    """The language tag in a contact word, "" when there is none."""
    tag = word[SALT_BYTES:].rstrip(b"\0")
    return tag.decode("ascii") if tag.isascii() and tag.decode("ascii").replace("-", "").isalnum() else ""
