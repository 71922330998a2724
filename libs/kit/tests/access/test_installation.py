"""What an installation starts with."""

import json
import os
import stat
import time
from pathlib import Path

import pytest
from joserfc.jwk import KeySet, OKPKey

from tidemill_kit.access.installation import AccessFiles
from tidemill_kit.access.tokens import Claims, Token
from tidemill_kit.store.envelope import Keyring


@pytest.fixture
def folder(tmp_path: Path) -> AccessFiles:
    return AccessFiles(tmp_path / "access")


def read(folder: AccessFiles, file: Path) -> Claims:
    """Return what the token in a file says, as services verify it."""
    token = Token.read(file.read_text().strip())
    published = KeySet.import_key_set({"keys": json.loads(folder.public_keys.read_text())["keys"]})
    key = published.get_by_kid(token.key_id)
    return token.verified(key, audience="tidemill", leeway_s=0, now=time.time() + 1, first_party=True)


def test_only_the_owner_may_read_what_is_written(folder: AccessFiles) -> None:
    before = os.umask(0)
    try:
        folder.write(["rag"])
    finally:
        os.umask(before)
    written = list(folder.signing_keys.parent.iterdir())

    assert {file.name for file in written} == {
        *("signing-keys.json", "keys.json", "secrets.keys", "publisher.json", "admin.token", "rag.token")
    }
    assert {stat.S_IMODE(file.stat().st_mode) for file in written} == {0o600}
    assert stat.S_IMODE(folder.signing_keys.parent.stat().st_mode) == 0o700


def test_the_next_start_keeps_the_key_that_monitor_signs_by(folder: AccessFiles) -> None:
    folder.write(["rag"])
    first, published = [json.loads(file.read_text()) for file in (folder.signing_keys, folder.public_keys)]

    folder.write(["rag"])

    again = json.loads(folder.signing_keys.read_text())
    assert [len(each["keys"]) for each in (first, again)] == [2, 2]
    assert again["keys"][0] == first["keys"][0]
    assert json.loads(folder.public_keys.read_text())["keys"][0] == published["keys"][0]


def test_the_next_start_keeps_the_key_that_secrets_are_encrypted_by(folder: AccessFiles) -> None:
    folder.write(["rag"])
    envelope = Keyring.read(folder.secret_keys).seal(b"sk-1", "acme", "KEY")
    folder.write(["rag"])

    assert Keyring.read(folder.secret_keys).open(envelope, "acme", "KEY") == b"sk-1"


def test_the_next_start_takes_the_earlier_tokens_away(folder: AccessFiles) -> None:
    folder.write(["rag"])
    earlier = {file: file.read_text().strip() for file in (folder.admin, folder.service("rag"))}

    folder.write(["rag"])

    published = {key["kid"] for key in json.loads(folder.public_keys.read_text())["keys"]}
    for file, text in earlier.items():
        assert Token.read(text).key_id not in published
        assert Token.read(file.read_text().strip()).key_id in published


def test_keys_that_an_operator_added_stay(folder: AccessFiles) -> None:
    folder.write([])
    keys = json.loads(folder.signing_keys.read_text())["keys"]
    added = OKPKey.generate_key("Ed25519", {"kid": "of-2027"}).as_dict(private=True)
    folder.signing_keys.write_text(json.dumps({"keys": [added, *keys]}))

    folder.write([])

    kept = [key["kid"] for key in json.loads(folder.signing_keys.read_text())["keys"]]
    assert kept[:2] == ["of-2027", keys[0]["kid"]]
    assert keys[1]["kid"] not in kept


def test_tokens_last_as_long_as_is_asked_for(folder: AccessFiles) -> None:
    folder.write([], days=2)

    admin = read(folder, folder.admin)

    assert admin.expire_time - admin.issue_time == pytest.approx(2 * 24 * 3600, abs=1)


def test_a_service_has_no_role_and_the_admin_has_that_of_the_installation(folder: AccessFiles) -> None:
    folder.write(["rag"])

    service, admin = read(folder, folder.service("rag")), read(folder, folder.admin)

    assert (service.service, service.project, service.roles) == ("rag", "*", frozenset())
    assert (admin.service, admin.project, admin.roles) == ("", "*", frozenset({"installation_admin"}))


def test_what_verifies_tokens_signs_none(folder: AccessFiles) -> None:
    folder.write([])

    assert '"d"' not in folder.public_keys.read_text()
