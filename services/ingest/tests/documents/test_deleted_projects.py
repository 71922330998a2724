"""What arrives of a project that is deleted meanwhile leaves nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from services.ingest.tests.fakes import ACME, EXCHANGE, Ingest, deletion, spec, submitted
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Request
from tidemill_ingest.documents.domain.submission import Submission, SubmissionChannel
from tidemill_ingest.documents.domain.version import Prepared
from tidemill_ingest.documents.reject_submission import RejectCommand
from tidemill_ingest.errors import ProjectDeleted
from tidemill_ingest.members import ReadMember


@dataclass
class DeletedMeanwhile:
    """The preparation or the texts of an ingest; the project is deleted while they work."""

    ingest: Ingest

    async def prepare(self, *arguments: Any, **named: Any) -> Prepared:  # noqa: ANN401 - of the port
        prepared = await self.ingest.preparation.prepare(*arguments, **named)
        self.ingest.projects.gone.add("acme")
        return prepared

    async def read_members(self, *arguments: Any, **named: Any) -> Mapping[str, ReadMember]:  # noqa: ANN401 - of the port
        return await self.ingest.preparation.read_members(*arguments, **named)

    async def mask(self, project: str, text: str) -> str:
        self.ingest.projects.gone.add(project)
        return text

    async def put(self, *arguments: Any, **named: Any) -> ObjectRef:  # noqa: ANN401 - of the port
        ref = await self.ingest.texts.put(*arguments, **named)
        self.ingest.projects.gone.add("acme")
        return ref

    async def delete(self, keys: list[str]) -> None:
        await self.ingest.texts.delete(keys)


def left(ingest: Ingest) -> list[object]:
    return [*ingest.documents.all(), *ingest.texts_stored(), *ingest.quarantined()]


@pytest.mark.parametrize("channel", [SubmissionChannel.GRPC, SubmissionChannel.UPLOAD, SubmissionChannel.KAFKA])
@pytest.mark.parametrize("during", ["preparation", "texts"])
async def test_a_submission_in_work_stores_nothing(channel: SubmissionChannel, during: str) -> None:
    ingest = await Ingest().with_source()
    meanwhile: dict[str, Any] = {during: DeletedMeanwhile(ingest)}
    accept = replace(ingest.accept, **meanwhile)
    command = replace(submitted("A"), submission=Submission(door=channel, id="s"))

    with pytest.raises(ProjectDeleted):
        await accept(ACME, command)

    assert left(ingest) == []


async def test_a_deletion_in_work_leaves_no_tombstone() -> None:
    ingest = await Ingest().with_source()
    delete = replace(ingest.delete, preparation=DeletedMeanwhile(ingest))

    with pytest.raises(ProjectDeleted):
        await delete(ACME, replace(deletion(unknown_too=True), reason="asked for"))

    assert left(ingest) == []


async def test_a_rejection_in_work_leaves_no_document() -> None:
    ingest = await Ingest().with_source()
    reject = replace(ingest.reject, preparation=DeletedMeanwhile(ingest))
    submission = Submission(door=SubmissionChannel.KAFKA, id="e")
    command = RejectCommand(
        source="cms", key="k", reason="R", message="m", submission=submission, request=Request.of("e", b"")
    )

    with pytest.raises(ProjectDeleted):
        await reject(ACME, command)

    assert left(ingest) == []


async def test_what_a_process_stored_that_slept_through_the_erasure_is_swept() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))
    await ingest.accept(ACME, submitted("B", of=spec("kb/2")))
    await ingest.objects.put("quarantine", "acme/d/x", b"x", media_type="text/plain")
    await ingest.objects.put(EXCHANGE, "globex/d/x", b"x", media_type="text/plain")
    ingest.projects.gone.add("acme")
    ingest.clock.at = (await ingest.objects.list(EXCHANGE))[0].modified_at + timedelta(minutes=1)

    swept = await ingest.sweep(epoch=1)

    assert (swept.texts, left(ingest)) == (2, ["globex/d/x"])


async def test_nothing_is_swept_of_it_while_that_is_not_allowed() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("A"))
    ingest.projects.gone.add("acme")
    ingest.projects.spared.add("acme")

    assert (await ingest.sweep(epoch=1)).spared == 1
    assert len(left(ingest)) == 2
