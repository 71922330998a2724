"""What a start of a stack writes about who may call it."""

import json
import os
import stat
import time
from pathlib import Path

import pytest
from joserfc.jwk import KeySet

from tidemill_kit.access.tokens import Claims, Token
from tidemill_local import access
from tidemill_local.places import StackFolder
from tidemill_local.programs import ISSUER
from tidemill_monitor.access.signing import signing_keys


@pytest.fixture
def folder(tmp_path: Path) -> StackFolder:
    return StackFolder(tmp_path)


def read(folder: StackFolder, file: Path) -> Claims:
    """Return what the token in a file says, as services verify it."""
    token = Token.read(file.read_text().strip())
    (key,) = KeySet.import_key_set({"keys": json.loads(folder.public_keys.read_text())["keys"]}).keys
    return token.verified(key, audience="tidemill", leeway_s=0, now=time.time() + 1, first_party=True)


def test_only_the_owner_may_read_what_is_written(folder: StackFolder) -> None:
    before = os.umask(0)
    try:
        access.prepare(folder, ["rag"])
    finally:
        os.umask(before)
    written = list(folder.signing_keys.parent.iterdir())

    assert {file.name for file in written} == {"signing-keys.json", "keys.json", "admin.token", "rag.token"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in written} == {0o600}
    assert stat.S_IMODE(folder.signing_keys.parent.stat().st_mode) == 0o700


def test_the_next_start_keeps_the_key(folder: StackFolder) -> None:
    access.prepare(folder, ["rag"])
    first = folder.signing_keys.read_bytes()

    access.prepare(folder, ["rag"])

    assert folder.signing_keys.read_bytes() == first


def test_monitor_signs_by_the_key(folder: StackFolder) -> None:
    access.prepare(folder, [])

    (key,) = signing_keys(folder.signing_keys, issuer=ISSUER, audience="tidemill").keys

    assert key.is_private


def test_a_service_has_no_role_and_the_admin_has_that_of_the_installation(folder: StackFolder) -> None:
    access.prepare(folder, ["rag"])

    service, admin = read(folder, folder.credential("rag")), read(folder, folder.admin_credential)

    assert (service.service, service.project, service.roles) == ("rag", "*", frozenset())
    assert (admin.service, admin.project, admin.roles) == ("", "*", frozenset({"installation_admin"}))


def test_what_verifies_tokens_signs_none(folder: StackFolder) -> None:
    access.prepare(folder, [])

    assert '"d"' not in folder.public_keys.read_text()
