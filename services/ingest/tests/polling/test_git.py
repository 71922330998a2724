"""Repositories of Git as they are polled: by real servers, and what may be wrong with them."""

import os
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.ingest.tests.polling.repositories import GIT, ProcessesHere, Served, served
from tidemill_core.origins import AllowedHosts
from tidemill_ingest.errors import OriginFailed
from tidemill_ingest.limits import OriginLimits
from tidemill_ingest.polling.domain.objects import Listing
from tidemill_ingest.polling.domain.origin import GitOrigin, Polling
from tidemill_ingest.polling.origins import DeclaredOrigins
from tidemill_kit.runtime.operator_secrets import OperatorSecrets

FILES = {"a.md": b"# A", "docs/b.md": b"# B", "logo.png": b"\x89PNG"}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, by="dulwich") as found:
        yield found


async def contents(
    repository: Served, polling: Polling, *, known: str = "", max_pack_bytes: int = 1_000_000
) -> tuple[Listing | None, dict[str, bytes]]:
    """Return the listing of a poll, and what it reads."""
    async with repository.origins(max_pack_bytes=max_pack_bytes).open("acme", polling) as origin:
        listing = await origin.listing(known)
        files = listing.objects if listing else ()
        return listing, {each.key: await origin.read(each) or b"" for each in files}


async def failure(repository: Served, polling: Polling, origins: DeclaredOrigins | None = None) -> OriginFailed:
    with pytest.raises(OriginFailed) as failed:
        async with (origins or repository.origins()).open("acme", polling) as origin:
            await origin.listing()
    return failed.value


@pytest.mark.parametrize(
    "by", ["dulwich", pytest.param("git", marks=pytest.mark.skipif(not GIT, reason="no git here"))]
)
async def test_the_files_of_a_commit_are_read_and_afterwards_only_what_changed(tmp_path: Path, by: str) -> None:
    with served(tmp_path, by=by) as repository:
        first = repository.commit(FILES)
        listing, read = await contents(repository, repository.polling())
        same, _ = await contents(repository, repository.polling(), known=first)
        asked = len(repository.asked)
        second = repository.commit({**FILES, "a.md": b"# Another"})
        changed, read_again = await contents(repository, repository.polling(), known=first)

    assert listing is not None
    assert changed is not None
    assert (listing.position, listing.skipped, read) == (first, 1, {"a.md": b"# A", "docs/b.md": b"# B"})
    assert (same, asked <= 6) == (None, True)
    assert (changed.position, read_again["a.md"]) == (second, b"# Another")
    assert {each.key for each in changed.objects} - {each.key for each in listing.objects} == set()
    assert len({each.version for each in (*changed.objects, *listing.objects)}) == 3
    assert not [*(tmp_path / "polls").iterdir()]  # nothing that is not masked stays


async def test_a_branch_and_a_tag_are_read_where_they_are_named(repository: Served) -> None:
    old = repository.commit({"a.md": b"old"}, branch="v1")
    repository.tag("v1.0", old)
    repository.commit({"a.md": b"new"})

    read = [(await contents(repository, repository.polling(ref=ref)))[1]["a.md"] for ref in ("v1", "v1.0", "", "main")]

    assert read == [b"old", b"old", b"new", b"new"]


async def test_a_branch_that_was_forced_to_something_else_is_read_as_it_is(repository: Served) -> None:
    before = repository.commit({"a.md": b"one", "c.md": b"gone"})
    repository.commit({"a.md": b"two"})

    listing, read = await contents(repository, repository.polling(), known=before)

    assert read == {"a.md": b"two"}
    assert listing is not None


async def test_a_file_that_is_too_large_is_read_to_its_limit_alone(repository: Served) -> None:
    repository.commit({"a.md": b"x" * 5000})

    _, read = await contents(repository, repository.polling())

    assert len(read["a.md"]) == 1001


async def test_credentials_are_sent_and_wrong_ones_are_said(repository: Served) -> None:
    repository.commit(FILES)
    repository.authorization = "Basic " + b64encode(b"ada:hush").decode()
    polling = repository.polling(username="ada")

    _, read = await contents(repository, polling)
    wrong = await failure(repository, polling, repository.origins(secret="other"))  # noqa: S106 - a wrong one
    without = await failure(repository, repository.polling())

    assert len(read) == 2
    assert (wrong.reason, without.reason) == ("ACCESS_DENIED", "ACCESS_DENIED")
    assert "hush" not in wrong.message


async def test_a_ref_that_is_not_there_is_an_error_and_no_empty_repository(repository: Served) -> None:
    empty = await failure(repository, repository.polling())
    repository.commit(FILES)
    missing = await failure(repository, repository.polling(ref="gone"))

    assert (empty.reason, missing.reason) == ("REF_NOT_FOUND", "REF_NOT_FOUND")
    assert "'gone'" in missing.message


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("302 Found", "ORIGIN_REFUSED"),
        ("404 Not Found", "ORIGIN_NOT_FOUND"),
        ("500 Broken", "ORIGIN_UNREACHABLE"),
        ("200 OK", "REF_NOT_FOUND"),
    ],
)
async def test_what_is_no_repository_is_said(repository: Served, answer: str, reason: str) -> None:
    repository.answer = answer

    assert (await failure(repository, repository.polling())).reason == reason


async def test_too_many_bytes_and_too_many_files_are_refused(repository: Served) -> None:
    repository.commit({f"{number}.md": os.urandom(300) for number in range(6)})

    bytes_ = await failure(repository, repository.polling(), repository.origins(max_pack_bytes=1000))
    files = await failure(repository, repository.polling())

    assert (bytes_.reason, files.reason) == ("REPOSITORY_TOO_LARGE", "TOO_MANY_OBJECTS")


@pytest.mark.skipif(not GIT, reason="no git here, and dulwich's own server sends all files at once")
async def test_files_that_are_fetched_one_by_one_count_together(tmp_path: Path) -> None:
    with served(tmp_path, by="git") as repository:
        known = repository.commit({"a.md": b"one"})
        repository.commit({f"{number}.md": os.urandom(900) for number in range(4)})

        with pytest.raises(OriginFailed) as failed:
            await contents(repository, repository.polling(), known=known, max_pack_bytes=2500)

        assert failed.value.reason == "REPOSITORY_TOO_LARGE"


@pytest.mark.skipif(not GIT, reason="no git here, and dulwich's own server sends all files at once")
async def test_a_file_far_above_its_limit_is_not_fetched_to_its_end_and_stops_no_other(tmp_path: Path) -> None:
    with served(tmp_path, by="git") as repository:
        known = repository.commit({"a.md": b"one"})
        repository.commit({"a.md": os.urandom(100_000), "b.md": b"two"})

        _, read = await contents(repository, repository.polling(), known=known)

        assert (len(read["a.md"]), read["b.md"]) == (1001, b"two")


async def test_a_repository_inside_is_not_called_unless_the_operator_allows_it(
    tmp_path: Path,
) -> None:
    declared = DeclaredOrigins(
        secrets=OperatorSecrets("INGEST_SECRET_", {}, None),
        allowed=AllowedHosts(),
        limits=OriginLimits(),
        processes=ProcessesHere(),
        folder=tmp_path,
    )

    for url in ("https://127.0.0.1/kb.git", "http://192.0.2.1/kb.git"):
        with pytest.raises(OriginFailed) as failed:
            async with declared.open("acme", Polling(git=GitOrigin(url=url))):
                pass
        assert failed.value.reason == "ORIGIN_UNREACHABLE"
