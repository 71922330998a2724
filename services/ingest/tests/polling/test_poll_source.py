"""What a source's documents are after its polls, whatever happens to what it is polled from."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from services.ingest.tests.fakes import ACME, Ingest
from services.ingest.tests.polling.origins import WIKI, Polled
from tidemill_core.application import Page, Request, ResourceKey
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.resources import Write
from tidemill_ingest.errors import OriginFailed, PollTaken
from tidemill_ingest.limits import Limits
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.polling.domain.poll import PollCounts, PollState, SourcePoll
from tidemill_ingest.polling.reconcile import polling_controller
from tidemill_ingest.processes import ProcessingBroke
from tidemill_testkit.leases import InMemoryLeases
from tidemill_testkit.polling import eventually

FILES = {"a.md": b"# A\n\nfirst", "b/c.md": b"# C\n\nsecond", "d.txt": b"third"}


async def polled(limits: Limits | None = None, **polling: object) -> Polled:
    harness = await Polled(Ingest(limits=limits or Limits())).with_source(**polling)
    harness.origin.files = dict(FILES)
    return harness


async def test_each_file_that_is_there_becomes_a_document() -> None:
    harness = await polled()

    poll = await harness.poll()

    assert harness.states() == dict.fromkeys(FILES, "active")
    assert (poll.state, poll.last) == (PollState.CURRENT, PollCounts(found=3, changed=3))
    assert poll.due_at == poll.last_poll_time + timedelta(minutes=15)  # type: ignore[operator] # it was polled


async def test_a_poll_fetches_only_what_changed_and_deletes_what_is_gone() -> None:
    harness = await polled()
    await harness.poll()
    harness.origin.read_keys.clear()
    harness.origin.files["a.md"] = b"# A\n\nanother"
    del harness.origin.files["d.txt"]

    poll = await harness.poll()

    assert harness.origin.read_keys == ["a.md"]
    assert (await harness.document("a.md")).version_count == 2
    assert harness.states() == {"a.md": "active", "b/c.md": "active", "d.txt": "deleted"}
    assert poll.last == PollCounts(found=2, changed=1, deleted=1)


async def test_what_has_not_changed_costs_no_fetch_and_no_submission() -> None:
    harness = await polled()
    await harness.poll()
    versions = [each.version for each in harness.ingest.documents.all()]
    harness.origin.read_keys.clear()

    assert (await harness.poll()).last == PollCounts(found=3)
    assert harness.origin.read_keys == []
    assert [each.version for each in harness.ingest.documents.all()] == versions


async def test_a_position_that_is_known_is_not_listed_again_unless_the_last_poll_was_cut_off() -> None:
    harness = await polled()
    harness.origin.position = "c1"
    await harness.poll()
    del harness.origin.files["d.txt"]  # which the position does not say

    known = await harness.poll()
    await harness.ingest.polls.update("acme", "wiki", _cut_off, request=Request.internal())
    listed = await harness.poll()

    assert (known.last, known.position) == (PollCounts(found=3), "c1")
    assert listed.last == PollCounts(found=2, deleted=1)


def _cut_off(poll: SourcePoll) -> None:
    poll.under_way = PollCounts()


async def test_a_source_that_is_not_due_is_left_alone() -> None:
    harness = await polled()
    await harness.poll()
    harness.origin.fails = OriginFailed(reason="ORIGIN_UNREACHABLE", message="must not be asked")

    assert (await harness.poll(after=timedelta(minutes=14))).state is PollState.CURRENT


async def test_content_that_comes_back_is_taken_again() -> None:
    harness = await polled()
    for content in (b"one", b"two", b"one"):
        harness.origin.files["a.md"] = content
        await harness.poll()

    assert (await harness.document("a.md")).version_count == 3


async def test_a_file_that_comes_back_after_its_deletion_is_a_document_again() -> None:
    harness = await polled()
    await harness.poll()
    content = harness.origin.files.pop("a.md")
    await harness.poll()
    harness.origin.files["a.md"] = content

    await harness.poll()

    assert harness.states()["a.md"] == "active"


@pytest.mark.parametrize("left", [{}, {"a.md": FILES["a.md"]}])
async def test_too_many_files_gone_at_once_are_an_error_and_no_deletion(left: dict[str, bytes]) -> None:
    harness = await polled()
    await harness.poll()
    harness.origin.files = left

    poll = await harness.poll()

    assert (poll.state, poll.reason) == (PollState.FAILING, "MASS_DELETION")
    assert harness.states() == dict.fromkeys(FILES, "active")


async def test_all_files_may_be_deleted_where_the_source_says_so() -> None:
    harness = await polled(max_deleted_share=1.0)
    await harness.poll()
    harness.origin.files = {}

    assert (await harness.poll()).last == PollCounts(deleted=3)
    assert harness.states() == dict.fromkeys(FILES, "deleted")


async def test_an_origin_that_fails_deletes_nothing_and_is_asked_again_later_each_time() -> None:
    harness = await polled()
    await harness.poll()
    harness.origin.fails = OriginFailed(reason="ACCESS_DENIED", message="check the secret")

    first = await harness.poll()
    second = await harness.poll()

    assert (first.state, first.reason, first.message) == (PollState.FAILING, "ACCESS_DENIED", "check the secret")
    assert (first.failures, second.failures) == (1, 2)
    assert second.due_at is not None
    assert harness.ingest.clock.now() < second.due_at <= harness.ingest.clock.now() + timedelta(hours=1)
    assert harness.states() == dict.fromkeys(FILES, "active")


async def test_an_origin_that_answers_again_goes_on() -> None:
    harness = await polled()
    harness.origin.fails = OriginFailed(reason="ORIGIN_UNREACHABLE", message="does not answer")
    await harness.poll()
    harness.origin.fails = None

    poll = await harness.poll()

    assert (poll.state, poll.reason, poll.failures) == (PollState.CURRENT, "", 0)
    assert poll.last.changed == 3


async def test_a_refused_file_says_why_and_is_not_fetched_again() -> None:
    harness = await polled(Limits(document_bytes=20))
    harness.origin.files |= {"large.md": b"x" * 21, "empty.md": b"", "lies.pdf": b"no PDF"}

    first = await harness.poll()
    harness.origin.read_keys.clear()
    second = await harness.poll()

    rejections = [(await harness.document(key)).last_rejection for key in ("large.md", "empty.md", "lies.pdf")]
    assert [each.reason if each else "" for each in rejections] == [
        "DOCUMENT_TOO_LARGE",
        "EMPTY_DOCUMENT",
        "MEDIA_TYPE_MISMATCH",
    ]
    assert (first.last.changed, first.last.refused) == (3, 3)
    assert harness.origin.read_keys == []
    assert second.last == PollCounts(found=6)


async def test_a_file_too_large_by_its_listing_is_not_fetched() -> None:
    harness = await polled(Limits(document_bytes=20))
    harness.origin.files = {"large.md": b"x" * 21}

    await harness.poll()

    assert harness.origin.read_keys == []


async def test_hidden_files_other_formats_and_other_paths_are_passed_over() -> None:
    harness = await polled(paths=("docs/*",))
    harness.origin.files = dict.fromkeys(("docs/a/b.md", "docs/.env", "docs/x.png", "a.md", "docs/.git/x.md"), b"text")
    harness.origin.files["docs/README"] = b"plain text without a suffix"

    poll = await harness.poll()

    assert harness.states() == {"docs/a/b.md": "active", "docs/README": "active"}
    assert (poll.last.found, poll.last.skipped) == (2, 4)


async def test_a_file_that_changes_between_listing_and_fetch_is_left_to_the_next_poll() -> None:
    harness = await polled()

    def rewritten(key: str) -> None:
        if key == "a.md":
            harness.origin.files["a.md"] = b"newer"

    harness.origin.on_read = rewritten
    assert (await harness.poll()).last.changed == 2
    assert "a.md" not in harness.states()
    assert (await harness.poll()).last.changed == 1
    assert harness.states()["a.md"] == "active"


async def test_other_rules_of_the_source_take_every_file_again() -> None:
    harness = await polled()
    await harness.poll()

    def changed(source: object) -> None:
        source.masking = Masking.of(["email"], none=False)  # type: ignore[attr-defined] # it is a source

    await harness.ingest.sources.update("acme", "wiki", changed, request=Request.internal())

    assert (await harness.poll()).last.changed == 3


@pytest.mark.parametrize("broken_at", ["put", "accept"])
async def test_a_poll_that_is_cut_off_goes_on_and_makes_each_version_once(
    broken_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness = await polled()
    gone = DependencyUnavailable("mongodb does not answer", dependency="mongodb")

    async def fails(*_: object, **__: object) -> None:
        raise gone

    with monkeypatch.context() as patched:
        if broken_at == "put":
            patched.setattr(harness.objects, "put", fails)
        else:
            patched.setattr(harness.ingest.texts, "put", fails)
        with pytest.raises(DependencyUnavailable):
            await harness.poll()

    poll = await harness.poll(after=timedelta(seconds=1))

    assert poll.state is PollState.CURRENT
    assert harness.states() == dict.fromkeys(FILES, "active")
    assert {each.version_count for each in harness.ingest.documents.all()} == {1}
    assert len(harness.ingest.documents.published) == 3


async def test_a_long_poll_goes_on_in_slices_and_counts_all_of_them() -> None:
    harness = await polled()
    harness.origin.files = {f"{number:02}.md": f"text {number}".encode() for number in range(10)}
    harness.origin.on_read = lambda _: harness.ingest.clock.advance(timedelta(minutes=2))

    poll = await harness.poll()

    assert poll.last == PollCounts(found=10, changed=10)
    assert harness.epoch > 1


async def test_a_file_whose_processing_breaks_is_tried_three_times_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness, broken = await polled(), ProcessingBroke("ended its process")
    prepare = harness.ingest.preparation.prepare

    async def breaks(caller: object, spec: object, *rest: object, **options: object) -> object:
        if spec.key == "a.md":  # type: ignore[attr-defined] # it is a spec
            raise broken
        return await prepare(caller, spec, *rest, **options)  # type: ignore[arg-type] # handed on

    monkeypatch.setattr(harness.ingest.preparation, "prepare", breaks)

    poll = await harness.poll()

    assert harness.origin.read_keys.count("a.md") == 3
    assert (poll.state, poll.last.changed, poll.last.refused) == (PollState.CURRENT, 2, 1)
    assert harness.objects.rows["acme", "wiki"]["a.md"].refused == "PROCESSING_FAILED"


async def test_a_worker_that_lost_its_lease_changes_nothing_of_the_poll() -> None:
    harness = await polled()
    await harness.poll()
    harness.ingest.clock.advance(timedelta(hours=1))

    with pytest.raises(PollTaken):
        await harness.poll_source(WIKI, epoch=0)


def _delete(harness: Polled) -> object:
    return harness.ingest.managing.delete(ACME, "wiki", Write(request=Request.internal()))


async def _stop_polling(harness: Polled) -> None:
    given = replace(await harness.ingest.sources.get("acme", "wiki"), polling=None)
    write = Write(request=Request.internal())
    await harness.ingest.managing.update(ACME, given, frozenset({"polling"}), write)


@pytest.mark.parametrize("ended", [_delete, _stop_polling])
async def test_nothing_is_known_of_the_files_of_a_source_that_is_not_polled_any_more(
    ended: Callable[[Polled], object],
) -> None:
    harness = await polled()
    await harness.poll()

    await ended(harness)  # type: ignore[misc] # either is awaited
    assert await harness.once() is None

    assert harness.ingest.to_poll == [WIKI]
    assert harness.objects.rows == {}
    assert await harness.ingest.polls.get_many("acme", ["wiki"]) == {}
    assert harness.states() == dict.fromkeys(FILES, "active")


async def test_a_source_that_is_deleted_while_it_is_polled_takes_nothing_new() -> None:
    harness = await polled()
    harness.origin.files = {f"{number}.md": b"text" for number in range(9)}
    stop = [True]

    async def delete() -> None:
        await harness.ingest.sources.update(
            "acme", "wiki", lambda source: setattr(source, "deleted", True), request=Request.internal()
        )

    put = harness.objects.put

    async def put_once(*arguments: object) -> None:
        await put(*arguments)  # type: ignore[arg-type] # handed on
        if stop.pop():
            await delete()

    harness.objects.put = put_once  # type: ignore[method-assign,assignment] # of this test
    harness.ingest.clock.advance(timedelta(hours=1))
    while await harness.once() is not None:
        pass

    assert len(harness.states()) == 4
    assert harness.objects.rows == {}


async def test_nothing_of_a_deleted_project_is_polled_and_no_lease_of_it_is_taken() -> None:
    harness, leases, other = await polled(), InMemoryLeases(), ResourceKey(project="other", id="wiki")
    harness.ingest.projects.gone.add("acme")

    async def pending(_: str, /, *, without: frozenset[str]) -> Page[ResourceKey]:  # noqa: ARG001 - all may be polled
        return Page(items=[WIKI, other])

    controller = polling_controller(
        harness.poll_source,
        pending=pending,
        leases=leases,
        poll_interval=timedelta(hours=1),
        max_concurrent=1,
    )

    await controller.start()
    await eventually(lambda: leases.epoch(other.key) == 1)
    await controller.stop()

    assert (harness.origin.read_keys, leases.epoch(WIKI.key)) == ([], 0)


async def test_a_project_that_is_deleted_while_its_source_is_polled_keeps_nothing() -> None:
    harness = await polled()
    harness.origin.on_read = lambda _: harness.ingest.projects.gone.add("acme")

    assert await harness.once() is None
    assert (harness.states(), harness.objects.rows) == ({}, {})


async def test_another_declaration_is_polled_at_once() -> None:
    harness = await polled()
    await harness.poll()
    given = await harness.ingest.sources.get("acme", "wiki")
    assert given.polling is not None
    given = replace(given, polling=replace(given.polling, paths=("*.md",)))

    await harness.ingest.managing.update(ACME, given, frozenset({"polling"}), Write(request=Request.internal()))
    poll = await harness.poll(after=timedelta(seconds=1))

    assert poll.last == PollCounts(found=2, deleted=1, skipped=1)
    assert harness.ingest.to_poll == [WIKI]
