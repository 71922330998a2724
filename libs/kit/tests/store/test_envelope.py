"""Envelope encryption: what opens, what does not, and how keys are rotated."""

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic_settings import SettingsConfigDict

from tidemill_core.envelope import Envelope
from tidemill_kit.runtime.encryption import EncryptionSettings
from tidemill_kit.store.envelope import (
    EncryptionKeyMissing,
    EncryptionKeysUnusable,
    EnvelopeBroken,
    Keyring,
    keyring_of,
)

CANARY = b"sk-CANARY-of-a-project"
PLACE = ("inference.secrets", "acme", "OPENAI_API_KEY", "3")


def a_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


class Settings(EncryptionSettings):
    model_config = SettingsConfigDict(env_prefix="SAMPLE_")


def with_part(envelope: Envelope, part: str, value: bytes) -> Envelope:
    parts = {name: getattr(envelope, name) for name in ("wrapped_key", "nonce", "ciphertext")} | {part: value}
    return Envelope(key_id=envelope.key_id, **parts)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def test_a_value_opens_at_its_place_and_stands_nowhere_in_its_envelope() -> None:
    keys = Keyring.of(a_key())
    envelope = keys.seal(CANARY, *PLACE)
    assert keys.open(envelope, *PLACE) == CANARY
    assert envelope.key_id == keys.first
    assert CANARY not in envelope.wrapped_key + envelope.nonce + envelope.ciphertext
    assert repr(envelope) == f"Envelope(key_id='{keys.first}')"


@pytest.mark.parametrize(
    "place",
    [
        ("inference.secrets", "other", "OPENAI_API_KEY", "3"),
        ("inference.secrets", "acme", "OTHER_KEY", "3"),
        ("inference.secrets", "acme", "OPENAI_API_KEY", "2"),
        ("monitor.sources", "acme", "OPENAI_API_KEY", "3"),
        ("inference.secrets", "acmeO", "PENAI_API_KEY", "3"),
        ("inference.secrets", "acme", "OPENAI_API_KEY"),
        (),
    ],
)
def test_an_envelope_of_another_project_name_version_or_purpose_does_not_open(place: tuple[str, ...]) -> None:
    keys = Keyring.of(a_key())
    with pytest.raises(EnvelopeBroken):
        keys.open(keys.seal(CANARY, *PLACE), *place)


@pytest.mark.parametrize("part", ["wrapped_key", "nonce", "ciphertext"])
@pytest.mark.parametrize("tampered", [flipped, lambda data: data[:-1], lambda _: b""], ids=["bit", "cut", "empty"])
def test_a_changed_envelope_does_not_open(part: str, tampered: Callable[[bytes], bytes]) -> None:
    keys = Keyring.of(a_key())
    envelope = keys.seal(CANARY, *PLACE)
    with pytest.raises(EnvelopeBroken) as caught:
        keys.open(with_part(envelope, part, tampered(getattr(envelope, part))), *PLACE)
    assert caught.value.__cause__ is None


def test_the_data_key_of_one_value_does_not_open_another() -> None:
    keys = Keyring.of(a_key())
    one, two = keys.seal(CANARY, *PLACE), keys.seal(b"other", *PLACE)
    with pytest.raises(EnvelopeBroken):
        keys.open(replace(one, wrapped_key=two.wrapped_key), *PLACE)


def test_the_same_value_is_never_encrypted_alike() -> None:
    keys = Keyring.of(a_key())
    envelopes = [keys.seal(CANARY, *PLACE) for _ in range(100)]
    for part in ("wrapped_key", "nonce", "ciphertext"):
        assert len({getattr(each, part) for each in envelopes}) == len(envelopes), part


def test_a_missing_key_is_named_by_its_id() -> None:
    old, new = Keyring.of(a_key()), Keyring.of(a_key())
    with pytest.raises(EncryptionKeyMissing, match=old.first):
        new.open(old.seal(CANARY, *PLACE), *PLACE)
    with pytest.raises(EncryptionKeyMissing, match=old.first):
        new.rewrap(old.seal(CANARY, *PLACE))


def test_after_a_rotation_old_envelopes_open_and_are_wrapped_by_the_new_key() -> None:
    old, new = a_key(), a_key()
    envelope = Keyring.of(old).seal(CANARY, *PLACE)
    both = Keyring.of(f"{new}\n{old}\n")
    assert both.open(envelope, *PLACE) == CANARY
    rewrapped = both.rewrap(envelope)
    assert rewrapped.key_id == both.first == Keyring.of(new).first
    assert (rewrapped.nonce, rewrapped.ciphertext) == (envelope.nonce, envelope.ciphertext)
    assert Keyring.of(new).open(rewrapped, *PLACE) == CANARY
    assert both.rewrap(rewrapped) is rewrapped


@pytest.mark.parametrize(
    "text", ["", "short", base64.b64encode(b"x" * 31).decode(), "not base64 at all", "Ü" * 44, "A" * 43 + "= " * 2]
)
def test_what_is_no_key_of_32_bytes_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(EncryptionKeysUnusable) as caught:
        Keyring.of(text)
    assert not text or text not in caught.value.message


def test_the_same_key_twice_is_refused() -> None:
    key = a_key()
    with pytest.raises(EncryptionKeysUnusable):
        Keyring.of(f"{key} {key}")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666, 0o601])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = tmp_path / "keys"
    file.write_text(a_key())
    file.chmod(mode)
    with pytest.raises(EncryptionKeysUnusable, match="chmod 600"):
        Keyring.read(file)


def test_the_keys_come_from_the_file_or_else_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keyring_of(Settings()) is None
    by_file, by_environment = a_key(), a_key()
    file = tmp_path / "keys"
    file.write_text(f"{by_file}\n")
    file.chmod(0o600)
    monkeypatch.setenv("SAMPLE_SECRETS_KEYS", by_environment)
    read = keyring_of(Settings())
    assert read is not None
    assert read.first == Keyring.of(by_environment).first
    monkeypatch.setenv("SAMPLE_SECRETS_KEY_FILE", str(file))
    read = keyring_of(Settings())
    assert read is not None
    assert read.first == Keyring.of(by_file).first
    assert by_environment not in repr(Settings())


def test_an_unusable_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPLE_SECRETS_KEY_FILE", str(tmp_path / "missing"))
    with pytest.raises(EncryptionKeysUnusable, match=r"SAMPLE_SECRETS_KEY_FILE: .*cannot be read"):
        keyring_of(Settings())


def test_a_fingerprint_recognizes_a_value_and_needs_the_key() -> None:
    key = a_key()
    keys = Keyring.of(key)
    assert keys.fingerprint(CANARY) == Keyring.of(key).fingerprint(CANARY)
    assert len({keys.fingerprint(CANARY), keys.fingerprint(b"other"), Keyring.of(a_key()).fingerprint(CANARY)}) == 3
    assert hashlib.sha256(CANARY).hexdigest() != keys.fingerprint(CANARY)


def test_what_an_earlier_version_stored_opens() -> None:
    keys = Keyring.of(base64.b64encode(bytes(range(32))).decode())
    stored = Envelope(
        key_id="0b910cc1db70408e",
        wrapped_key=bytes.fromhex("6e9f54a666c5e47386935867c78c732fc8db07aa8462889c68fa10bf86f0da29cb9cdb1b80de0caf"),
        nonce=bytes.fromhex("1886b72ce63dc561a90c0b62"),
        ciphertext=bytes.fromhex("208edac55573b8fcd655b54a735002c09849175df65a647cebfebc0e71692814663f321a7266"),
    )
    assert keys.open(stored, *PLACE) == CANARY
