"""The keystore file: whole or absent, private, and each fault named in one sentence."""

from __future__ import annotations

import json
import os
import stat

import pytest
from eth_account import Account

from agents import keystore
from protocols.errors import KeystoreError

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def cheap_scrypt(monkeypatch):
    """Tests make many keystores: fewer rounds, same format. One test uses the real work factor."""
    make = keystore.create_keyfile_json
    monkeypatch.setattr(
        keystore, "create_keyfile_json", lambda *a, **k: make(*a, **{"iterations": 1024, **k})
    )
    monkeypatch.delenv("CRYPDOC_PASSWORD_FILE", raising=False)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys" / "doctor.json"


def one_sentence(error: pytest.ExceptionInfo[KeystoreError]) -> str:
    text = str(error.value)
    assert error.value.fault
    assert error.value.remedy
    assert "\n" not in text
    return text


def test_create_load_and_what_the_file_is(path):
    ring = keystore.create(path, PASSWORD)
    assert keystore.load(path, PASSWORD).address == ring.address
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["doctor.json"]
    assert json.loads(path.read_text())["address"] == ring.address[2:].lower()


def test_any_ethereum_wallet_reads_it(path):
    ring = keystore.create(path, PASSWORD)
    secret = Account.decrypt(path.read_text(), PASSWORD)
    assert Account.from_key(secret).address == ring.address


def test_the_real_work_factor(path, monkeypatch):
    monkeypatch.undo()
    keystore.create(path, PASSWORD)
    parameters = json.loads(path.read_text())["crypto"]["kdfparams"]
    assert parameters["n"] * parameters["r"] * parameters["p"] >= 1 << 20


def test_two_keystores_hold_two_keys(path, tmp_path):
    assert keystore.create(path, PASSWORD).address != keystore.create(tmp_path / "b.json", PASSWORD).address


def test_an_existing_file_is_not_overwritten(path):
    keystore.create(path, PASSWORD)
    before = path.read_bytes()
    with pytest.raises(KeystoreError, match="exists already") as error:
        keystore.create(path, PASSWORD)
    one_sentence(error)
    assert path.read_bytes() == before


def test_not_even_one_that_appears_meanwhile(path, monkeypatch):
    path.parent.mkdir()
    make = keystore._encrypt

    def slow(*arguments):
        path.write_text("somebody else's")
        return make(*arguments)

    monkeypatch.setattr(keystore, "_encrypt", slow)
    with pytest.raises(KeystoreError, match="exists already"):
        keystore.create(path, PASSWORD)
    assert path.read_text() == "somebody else's"
    assert os.listdir(path.parent) == ["doctor.json"]


def test_missing(path):
    with pytest.raises(KeystoreError, match="there is no keystore") as error:
        keystore.load(path, PASSWORD)
    one_sentence(error)


def test_wrong_password(path):
    keystore.create(path, PASSWORD)
    with pytest.raises(KeystoreError, match="does not open") as error:
        keystore.load(path, PASSWORD + "!")
    assert PASSWORD not in one_sentence(error)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'"x"',
        b"\xff\xfe",
        b'{"crypto": 1}',
        b'{"version": 3, "crypto": {"kdf": "scrypt"}}',
        b"[" * 5000,
        b"x" * 20000,
    ],
)
def test_corrupt(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeystoreError, match="not a readable keystore") as error:
        keystore.load(path, PASSWORD)
    one_sentence(error)


def test_every_field_cut_or_changed_is_noticed(path):
    keystore.create(path, PASSWORD)
    whole = json.loads(path.read_text())
    for field in ("ciphertext", "mac", "kdfparams", "cipherparams", "kdf", "cipher"):
        for value in (None, "zz", 7):
            broken = {**whole, "crypto": {**whole["crypto"], field: value}}
            path.write_text(json.dumps(broken))
            with pytest.raises(KeystoreError):
                keystore.load(path, PASSWORD)


def test_a_costly_keystore_is_refused_before_the_work(path):
    keystore.create(path, PASSWORD)
    content = json.loads(path.read_text())
    content["crypto"]["kdfparams"]["n"] = 1 << 40
    path.write_text(json.dumps(content))
    with pytest.raises(KeystoreError, match="not a readable"):
        keystore.load(path, PASSWORD)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o622])
def test_loose_permissions(path, mode):
    keystore.create(path, PASSWORD)
    path.chmod(mode)
    with pytest.raises(KeystoreError, match="open to other users") as error:
        keystore.load(path, PASSWORD)
    assert "chmod 600" in one_sentence(error)


def test_a_folder_is_no_keystore(path):
    path.mkdir(parents=True)
    with pytest.raises(KeystoreError, match="is not a file"):
        keystore.load(path, PASSWORD)


def test_change_password(path):
    ring = keystore.create(path, PASSWORD)
    keystore.change_password(path, PASSWORD, "battery staple")
    assert keystore.load(path, "battery staple").address == ring.address
    with pytest.raises(KeystoreError):
        keystore.load(path, PASSWORD)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_failed_change_leaves_the_old_file(path, monkeypatch):
    keystore.create(path, PASSWORD)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    for old, new in ((PASSWORD + "!", "battery staple"), (PASSWORD, "short")):
        with pytest.raises(KeystoreError):
            keystore.change_password(path, old, new)
    monkeypatch.setattr(keystore.os, "replace", fail)
    with pytest.raises(KeystoreError, match="No space left"):
        keystore.change_password(path, PASSWORD, "battery staple")
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["doctor.json"]


def test_short_passwords(path):
    with pytest.raises(KeystoreError, match="shorter than"):
        keystore.create(path, "1234567")
    assert not path.exists()


@pytest.fixture
def password_file(tmp_path, monkeypatch):
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    file.chmod(0o600)
    monkeypatch.setenv("CRYPDOC_PASSWORD_FILE", str(file))
    return file


def test_the_password_file(path, password_file):
    ring = keystore.create(path)
    assert keystore.load(path).address == keystore.load(path, PASSWORD).address == ring.address


def test_a_password_file_open_to_others(path, password_file):
    password_file.chmod(0o644)
    with pytest.raises(KeystoreError, match="open to other users") as error:
        keystore.create(path)
    one_sentence(error)


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\xff\xff\xff"])
def test_a_password_file_that_holds_none(path, password_file, content):
    password_file.write_bytes(content)
    with pytest.raises(KeystoreError) as error:
        keystore.create(path)
    one_sentence(error)


def test_a_missing_password_file(path, password_file):
    password_file.unlink()
    with pytest.raises(KeystoreError, match="cannot be read"):
        keystore.create(path)


class Terminal:
    """Answers prompts in turn."""

    def __init__(self, monkeypatch, *answers):
        self.prompts = []
        left = list(answers)
        monkeypatch.setattr(keystore.sys.stdin, "isatty", lambda: True, raising=False)
        monkeypatch.setattr(
            keystore.getpass, "getpass", lambda prompt: self.prompts.append(prompt) or left.pop(0)
        )


def test_prompts(path, monkeypatch):
    terminal = Terminal(monkeypatch, PASSWORD, PASSWORD, PASSWORD)
    ring = keystore.create(path)
    assert keystore.load(path).address == ring.address
    assert len(terminal.prompts) == 3


def test_two_different_answers(path, monkeypatch):
    Terminal(monkeypatch, PASSWORD, PASSWORD + "!")
    with pytest.raises(KeystoreError, match="differ"):
        keystore.create(path)
    assert not path.exists()


def test_no_terminal_and_no_file(path, monkeypatch):
    monkeypatch.setattr(keystore.sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(KeystoreError, match="no terminal") as error:
        keystore.create(path)
    assert "CRYPDOC_PASSWORD_FILE" in one_sentence(error)
