"""The last keys of an issuer are kept in a file: a restart while the issuer is down does not end their hold time."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from libs.kit.tests.access.support import Clock, Served
from libs.kit.tests.grpc.support import Lines
from tidemill_kit.access.errors import KeysUnavailable
from tidemill_kit.access.keys import IssuerKeys, KeyTimes, SigningKeys
from tidemill_kit.access.saved_keys import SavedKeys
from tidemill_testkit.access import TestIssuer

HOLD_S = 1000.0


class Process:
    """What one process knows of an issuer; another one begins with the same folder."""

    def __init__(self, issuer: TestIssuer, folder: Path, *, down: bool = False, moved_s: float = 0.0) -> None:
        self.clock, self.served = Clock(), Served(issuer)
        self.clock.moved, self.served.down = moved_s, down
        self.keys = IssuerKeys(
            issuer.issuer,
            self.served,
            KeyTimes(max_age_s=300, hold_s=HOLD_S),
            saved=SavedKeys(folder, issuer.issuer),
            monotonic=lambda: self.clock.monotonic() - moved_s,  # which begins anew with a process
            now=self.clock.now,
        )

    async def knows(self, issuer: TestIssuer) -> bool:
        """Return whether it has the issuer's key after its start."""
        await self.keys.restore()
        try:
            return (await self.keys.key(str(issuer.key.kid))).kid == issuer.key.kid
        except KeysUnavailable:
            return False


@pytest.fixture
def issuer(tmp_path: Path) -> TestIssuer:
    return TestIssuer(tmp_path)


@pytest.fixture
async def folder(issuer: TestIssuer, tmp_path: Path) -> Path:
    """Return what an earlier process has left."""
    folder = tmp_path / "keys"
    await Process(issuer, folder).keys.refresh()
    return folder


@pytest.fixture
def kept(folder: Path) -> Path:
    """Return the file that an earlier process has left."""
    (file,) = folder.iterdir()
    return file


@pytest.mark.parametrize(("moved_s", "known"), [(0.0, True), (HOLD_S - 10, True), (HOLD_S + 10, False)])
async def test_a_restart_while_the_issuer_is_down_goes_on_within_the_hold_time(
    issuer: TestIssuer, folder: Path, *, moved_s: float, known: bool
) -> None:
    restarted = Process(issuer, folder, down=True, moved_s=moved_s)

    assert await restarted.knows(issuer) is known
    assert (restarted.keys.held, restarted.keys.count) == (known, int(known))


async def test_the_hold_time_goes_on_from_when_the_keys_were_read(issuer: TestIssuer, folder: Path) -> None:
    restarted = Process(issuer, folder, down=True, moved_s=HOLD_S - 10)
    assert await restarted.knows(issuer)

    restarted.clock.moved += 11

    assert not restarted.keys.held


async def test_a_start_reads_what_was_kept_before_it_answers(issuer: TestIssuer, folder: Path) -> None:
    restarted = Process(issuer, folder, down=True)
    component = SigningKeys([restarted.keys])

    await component.start()
    held = restarted.keys.held
    await component.stop()

    assert held


def test_only_the_owner_may_read_or_write_what_is_kept(kept: Path) -> None:
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.parent.stat().st_mode) == 0o700
    assert json.loads(kept.read_text()).keys() == {"issuer", "read_time", "published"}


@pytest.mark.parametrize("mode", [0o620, 0o602])
async def test_a_file_that_others_may_write_is_not_believed(
    issuer: TestIssuer, kept: Path, lines: Lines, mode: int
) -> None:
    kept.chmod(mode)  # noqa: ASYNC240 - at once

    assert not await Process(issuer, kept.parent, down=True).knows(issuer)
    (line,) = lines.named("access_keys_not_restored")
    assert "others" in line["why"]


def _changed(**changes: Any) -> Any:  # noqa: ANN401 - JSON
    def change(kept: dict[str, Any]) -> str:
        return json.dumps(kept | changes)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "[]",
        lambda kept: json.dumps(kept)[:-20],
        _changed(issuer="https://other.test"),
        _changed(published=[]),
        _changed(published={"keys": []}),
        _changed(read_time="now"),
        _changed(read_time=0),
    ],
    ids=["empty", "list", "cut", "issuer", "published", "no-keys", "no-time", "old"],
)
async def test_a_damaged_file_is_as_none(issuer: TestIssuer, kept: Path, damage: Any) -> None:  # noqa: ANN401
    kept.write_text(damage(json.loads(kept.read_text())))  # noqa: ASYNC240 - at once

    assert not await Process(issuer, kept.parent, down=True).knows(issuer)


async def test_keys_of_one_issuer_are_not_those_of_another(folder: Path, tmp_path: Path) -> None:
    other = TestIssuer(tmp_path, issuer="https://other.test")

    assert not await Process(other, folder, down=True).knows(other)


async def test_what_the_issuer_answers_counts_more_than_what_was_kept(issuer: TestIssuer, folder: Path) -> None:
    earlier = str(issuer.key.kid)
    issuer.rotate(keep_old=False)
    restarted = Process(issuer, folder)

    await restarted.keys.restore()
    assert (await restarted.keys.key(earlier)).kid == earlier
    await restarted.keys.refresh()

    assert await restarted.knows(issuer)
    assert restarted.keys.count == 1


async def test_a_folder_that_cannot_be_written_is_logged_once_and_keys_count(
    issuer: TestIssuer, tmp_path: Path, lines: Lines
) -> None:
    (tmp_path / "file").touch()
    process = Process(issuer, tmp_path / "file" / "keys")

    for _ in range(3):
        await process.keys.refresh()

    assert await process.knows(issuer)
    assert len(lines.named("access_keys_not_saved")) == 1
