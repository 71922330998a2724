"""What an installation starts with."""

import json
import os
import stat
import time
from pathlib import Path

import pytest
from joserfc.jwk import KeySet

from tidemill_kit.access.installation import AccessFiles
from tidemill_kit.access.tokens import Claims, Token


@pytest.fixture
def folder(tmp_path: Path) -> AccessFiles:
    return AccessFiles(tmp_path / "access")


def read(folder: AccessFiles, file: Path) -> Claims:
    """Return what the token in a file says, as services verify it."""
    token = Token.read(file.read_text().strip())
    (key,) = KeySet.import_key_set({"keys": json.loads(folder.public_keys.read_text())["keys"]}).keys
    return token.verified(key, audience="tidemill", leeway_s=0, now=time.time() + 1, first_party=True)


def test_only_the_owner_may_read_what_is_written(folder: AccessFiles) -> None:
    before = os.umask(0)
    try:
        folder.write(["rag"])
    finally:
        os.umask(before)
    written = list(folder.signing_keys.parent.iterdir())

    assert {file.name for file in written} == {"signing-keys.json", "keys.json", "admin.token", "rag.token"}
    assert {stat.S_IMODE(file.stat().st_mode) for file in written} == {0o600}
    assert stat.S_IMODE(folder.signing_keys.parent.stat().st_mode) == 0o700


def test_the_next_start_keeps_the_key(folder: AccessFiles) -> None:
    folder.write(["rag"])
    first = folder.signing_keys.read_bytes()

    folder.write(["rag"])

    assert folder.signing_keys.read_bytes() == first


def test_a_service_has_no_role_and_the_admin_has_that_of_the_installation(folder: AccessFiles) -> None:
    folder.write(["rag"])

    service, admin = read(folder, folder.service("rag")), read(folder, folder.admin)

    assert (service.service, service.project, service.roles) == ("rag", "*", frozenset())
    assert (admin.service, admin.project, admin.roles) == ("", "*", frozenset({"installation_admin"}))


def test_what_verifies_tokens_signs_none(folder: AccessFiles) -> None:
    folder.write([])

    assert '"d"' not in folder.public_keys.read_text()
