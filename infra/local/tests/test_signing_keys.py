"""The signing key of a stack."""

import os
import stat
from pathlib import Path

from tidemill_local import signing_keys
from tidemill_local.places import StackFolder
from tidemill_monitor.access.signing import signing_keys as read


def test_a_stack_makes_a_key_that_only_its_owner_may_read_once(tmp_path: Path) -> None:
    file = StackFolder(tmp_path).signing_keys
    before = os.umask(0)
    try:
        signing_keys.ensure(file)
    finally:
        os.umask(before)
    first = file.read_bytes()

    signing_keys.ensure(file)

    assert file.read_bytes() == first
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_monitor_signs_by_it(tmp_path: Path) -> None:
    file = StackFolder(tmp_path).signing_keys
    signing_keys.ensure(file)

    (key,) = read(file, issuer="http://127.0.0.1:1", audience="tidemill").keys

    assert key.is_private
    assert key.kid
