"""The keystore file: a wallet key under a password, in Ethereum's V3 format (scrypt, AES-128-CTR).

Any Ethereum wallet reads the same file. The password comes from a prompt or from the file that
`CRYPDOC_PASSWORD_FILE` names, never from the command line, where every process of the machine can read it.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import Any

from eth_keyfile import create_keyfile_json, decode_keyfile_json

from agents.keyring import Keyring
from protocols.crypto.derive import SECP256K1_ORDER
from protocols.errors import KeystoreError

PASSWORD_FILE = "CRYPDOC_PASSWORD_FILE"  # noqa: S105 - the name of a variable, not a password
MIN_PASSWORD = 8
_MAX_FILE = 16 << 10
_MAX_WORK = 1 << 23


def create(path: Path | str, password: str | None = None) -> Keyring:
    """Makes a new wallet key and writes its keystore. Asks for the password (twice) when none is given.

    Raises `KeystoreError` when the file exists already, cannot be written, or the password is too short.
    """
    path = Path(path)
    if path.exists():
        raise _exists(path)
    if password is None:
        password = _new_password(f"New password for {path.name}: ")
    _check_new(password)
    number = secrets.randbelow(SECP256K1_ORDER - 1) + 1
    secret = number.to_bytes(32, "big")
    _write(path, _encrypt(secret, password), replace=False)
    return Keyring(secret)


def load(path: Path | str, password: str | None = None) -> Keyring:
    """The keyring of a keystore. Asks for the password when none is given. Raises `KeystoreError`."""
    path = Path(path)
    content = _read(path)
    if password is None:
        password = ask_password(f"Password for {path.name}: ")
    return Keyring(_decrypt(path, content, password))


def change_password(path: Path | str, old: str | None = None, new: str | None = None) -> None:
    """Writes the same key under a new password; the old file is replaced whole or not at all.

    The new password is always prompted for when it is not given. Raises `KeystoreError`.
    """
    path = Path(path)
    content = _read(path)
    secret = _decrypt(path, content, ask_password(f"Old password for {path.name}: ") if old is None else old)
    if new is None:
        new = _prompt_twice(f"New password for {path.name}: ")
    _check_new(new)
    _write(path, _encrypt(secret, new), replace=True)


def ask_password(prompt: str) -> str:
    """The password from the file that `CRYPDOC_PASSWORD_FILE` names, else from the terminal."""
    name = os.environ.get(PASSWORD_FILE)
    return _password_from(Path(name)) if name else _prompt(prompt)


def _new_password(prompt: str) -> str:
    return ask_password(prompt) if os.environ.get(PASSWORD_FILE) else _prompt_twice(prompt)


def _prompt(prompt: str) -> str:
    if not sys.stdin.isatty():
        raise KeystoreError(
            "there is no terminal to ask for the password",
            f"put it in a file of mode 600 named by {PASSWORD_FILE}",
        )
    return getpass.getpass(prompt)


def _prompt_twice(prompt: str) -> str:
    password = _prompt(prompt)
    if _prompt("The same again: ") != password:
        raise KeystoreError("the two passwords differ", "try again")
    return password


def _password_from(path: Path) -> str:
    try:
        _check_private(path, "password file")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise KeystoreError(
            f"the password file {path} cannot be read ({why})", f"correct {PASSWORD_FILE}"
        ) from None
    password = text.rstrip("\r\n")
    if not password or "\n" in password:
        raise KeystoreError(
            f"the password file {path} does not hold one line", "write the password alone into it"
        )
    return password


def _check_new(password: str) -> None:
    if len(password) < MIN_PASSWORD:
        raise KeystoreError(f"the password is shorter than {MIN_PASSWORD} characters", "choose a longer one")


def _check_private(path: Path, what: str) -> None:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise KeystoreError(f"the {what} {path} is not a file", "name a file")
    if status.st_mode & 0o077:
        raise KeystoreError(f"the {what} {path} is open to other users", f"run: chmod 600 {path}")


def _read(path: Path) -> dict[str, Any]:
    try:
        _check_private(path, "keystore")
        if path.stat().st_size > _MAX_FILE:
            raise _corrupt(path)
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise KeystoreError(
            f"there is no keystore at {path}", "make one: crypdoc keys new --keystore FILE"
        ) from None
    except OSError as error:
        raise KeystoreError(
            f"the keystore {path} cannot be read ({error.strerror})", "check the path"
        ) from None
    except (ValueError, RecursionError):
        raise _corrupt(path) from None
    if not isinstance(content, dict):
        raise _corrupt(path)
    return content


def _encrypt(secret: bytes, password: str) -> bytes:
    content = create_keyfile_json(secret, password.encode(), kdf="scrypt")
    content["address"] = Keyring(secret).address[2:].lower()
    return json.dumps(content, indent=1).encode() + b"\n"


def _decrypt(path: Path, content: dict[str, Any], password: str) -> bytes:
    try:
        if not _is_bearable(content["crypto"]):
            raise _corrupt(path)
        secret = bytes(decode_keyfile_json(content, password.encode()))
    except KeystoreError:
        raise
    except ValueError as error:
        if "MAC" in str(error):
            raise KeystoreError(f"the password does not open {path}", "try again") from None
        raise _corrupt(path) from None
    except Exception:  # whatever eth-keyfile makes of fields that are not what they should be
        raise _corrupt(path) from None
    stated = content.get("address")
    if stated is not None and str(stated).removeprefix("0x").lower() != Keyring(secret).address[2:].lower():
        raise _corrupt(path)
    return secret


def _is_bearable(crypto: dict[str, Any]) -> bool:
    """Whether the file is of the known kind and does not ask for hours of work or all of the memory."""
    work = crypto["kdfparams"]
    cost = work["n"] * work["r"] * work["p"] if crypto["kdf"] == "scrypt" else work["c"]
    return bool(0 < cost <= _MAX_WORK and crypto["cipher"] == "aes-128-ctr")


def _write(path: Path, content: bytes, *, replace: bool) -> None:
    """Writes beside the target, syncs, and moves it there: the file is whole or absent at every moment."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(draft, path)
        else:
            os.link(draft, path)  # fails when the target exists, also if it appeared just now
        _sync(path.parent)
    except FileExistsError:
        raise _exists(path) from None
    except OSError as error:
        raise KeystoreError(
            f"the keystore {path} cannot be written ({error.strerror})", "check the path"
        ) from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _exists(path: Path) -> KeystoreError:
    return KeystoreError(
        f"{path} exists already and is not overwritten", "choose another name or move it away"
    )


def _corrupt(path: Path) -> KeystoreError:
    return KeystoreError(f"{path} is not a readable keystore", "restore it from a backup")
