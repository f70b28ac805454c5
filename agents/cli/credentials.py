"""Credential files: an attester's word that a wallet is a doctor's. Public, so plain JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from contracts.bindings.doctors import SignedCredential
from protocols.errors import UserError
from protocols.specialty import specialty


def write_credential(path: Path, doctor: str, field: str, credential: SignedCredential) -> None:
    """Write the file that a doctor names with --credential."""
    body = {
        "form": "CrypDoc credential v1",
        "doctor": doctor,
        "specialty": field,
        "attester": credential.attester,
        "valid_until": credential.valid_until,
        "signature": "0x" + credential.signature.hex(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body, indent=1) + "\n", "utf-8")


def read_credential(path: Path) -> SignedCredential:
    """The credential in a file. Raises `UserError`."""
    try:
        body: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return SignedCredential(
            specialty=specialty(body["specialty"]).id,
            attester=str(body["attester"]),
            valid_until=int(body["valid_until"]),
            signature=bytes.fromhex(str(body["signature"]).removeprefix("0x")),
        )
    except OSError as error:
        raise UserError(f"the credential {path} cannot be read ({error.strerror})", "name the file") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is not a credential", "ask the attester for a new one (crypdoc keys attest)"
        ) from None
