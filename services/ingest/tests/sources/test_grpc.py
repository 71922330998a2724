import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from services.ingest.tests.conftest import ApiClient
from tidemill.ingest.v1 import source_service_pb2 as pb
from tidemill.ingest.v1.source_pb2 import (
    SOURCE_POLL_STATE_FAILING,
    GitOrigin,
    Masking,
    Polling,
    Quality,
    S3Origin,
    Source,
)
from tidemill_core.application import Request
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound
from tidemill_ingest.polling.domain.poll import PollState, SourcePoll

KB = "https://cms.acme.example/kb"


async def test_a_source_is_created_read_listed_changed_and_deleted(client: ApiClient) -> None:
    created = await client.sources.CreateSource(
        pb.CreateSourceRequest(
            source=Source(
                id="kb",
                events=KB,
                masking=Masking(kinds=["phone", "email"]),
                retention_days=730,
                quality=Quality(languages=["en"], min_letters=0.5),
            )
        )
    )
    found = await client.sources.GetSource(pb.GetSourceRequest(id="kb"))
    listed = await client.sources.ListSources(pb.ListSourcesRequest())
    changed = await client.sources.UpdateSource(
        pb.UpdateSourceRequest(
            source=Source(id="kb", etag=created.source.etag, retention_days=1, masking=Masking(none=True)),
            update_mask=FieldMask(paths=["retention_days", "masking"]),
        )
    )
    deleted = await client.sources.DeleteSource(pb.DeleteSourceRequest(id="kb", etag=changed.source.etag))

    assert list(created.source.masking.kinds) == ["email", "phone"]
    assert created.source.quality == Quality(languages=["en"], min_letters=0.5)
    assert not listed.sources[0].HasField("quality")
    assert found.source == created.source
    assert [source.id for source in listed.sources] == ["cms", "kb"]
    assert (changed.source.events, changed.source.retention_days, changed.source.masking.none) == (KB, 1, True)
    assert deleted.source.id == "kb"
    with pytest.raises(NotFound, match="create it first"):
        await client.sources.GetSource(pb.GetSourceRequest(id="kb"))


async def test_what_cannot_be_is_refused_by_its_field(client: ApiClient) -> None:
    with pytest.raises(InvalidInput, match="source: is missing"):
        await client.sources.CreateSource(pb.CreateSourceRequest())
    with pytest.raises(InvalidInput, match="'emial' is not a kind"):
        await client.sources.CreateSource(
            pb.CreateSourceRequest(source=Source(id="kb", masking=Masking(kinds=["emial"])))
        )
    with pytest.raises(InvalidInput, match="update_mask"):
        await client.sources.UpdateSource(
            pb.UpdateSourceRequest(source=Source(id="cms"), update_mask=FieldMask(paths=["id"]))
        )
    with pytest.raises(InvalidInput, match=r"quality\.max_symbols: is 2"):
        await client.sources.CreateSource(
            pb.CreateSourceRequest(source=Source(id="kb", quality=Quality(max_symbols=2)))
        )
    with pytest.raises(AlreadyExists):
        await client.sources.CreateSource(pb.CreateSourceRequest(source=Source(id="cms")))
    with pytest.raises(Conflict):
        await client.sources.DeleteSource(pb.DeleteSourceRequest(id="cms", etag="99"))


async def test_a_source_says_what_it_is_polled_from_and_how_that_goes(client: ApiClient) -> None:
    polling = Polling(s3=S3Origin(endpoint="https://s3.acme.example", bucket="kb-pages"), paths=["*.md"], interval_s=60)
    created = await client.sources.CreateSource(pb.CreateSourceRequest(source=Source(id="kb", polling=polling)))
    poll = SourcePoll(id="kb", project="acme", state=PollState.FAILING, reason="ACCESS_DENIED", failures=2)
    await client.ingest.polls.add(poll, request=Request.internal())

    found = await client.sources.GetSource(pb.GetSourceRequest(id="kb"))
    listed = await client.sources.ListSources(pb.ListSourcesRequest())

    assert (created.source.polling, created.source.HasField("poll")) == (polling, False)
    assert (found.source.poll.state, found.source.poll.reason) == (SOURCE_POLL_STATE_FAILING, "ACCESS_DENIED")
    assert not found.source.poll.HasField("last")
    assert [each.poll.failures for each in listed.sources] == [0, 2]


@pytest.mark.parametrize(
    ("polling", "field"),
    [
        (Polling(), "source.polling: has 0 origins"),
        (Polling(git=GitOrigin(url="https://ada:hush@x.example/kb.git")), "url: must be https"),
        (Polling(git=GitOrigin(url="https://x.example/kb.git", ref="../x")), "ref: is"),
        (Polling(git=GitOrigin(url="https://x.example/kb.git", username="ada")), "secret: is missing"),
        (Polling(s3=S3Origin(endpoint="ftp://x", bucket="kbs")), "endpoint: must begin with https"),
        (Polling(s3=S3Origin(endpoint="https://x.example/path", bucket="kbs")), "endpoint: must be scheme, host and"),
        (Polling(s3=S3Origin(endpoint="https://x.example", bucket="K")), "bucket: is 'K'"),
        (Polling(s3=S3Origin(endpoint="https://x.example", bucket="kbs", access_key="A")), "secret: is missing"),
        (Polling(s3=S3Origin(endpoint="https://x.example", bucket="kbs"), interval_s=59), "interval_s: is 59"),
        (Polling(s3=S3Origin(endpoint="https://x.example", bucket="kbs"), paths=[""]), r"paths\[0\]: needs"),
        (Polling(s3=S3Origin(endpoint="https://x.example", bucket="kbs"), max_deleted_share=2), "share: is 2"),
    ],
)
async def test_a_polling_that_cannot_be_is_refused_by_its_field(
    client: ApiClient, polling: Polling, field: str
) -> None:
    with pytest.raises(InvalidInput, match=field):
        await client.sources.CreateSource(pb.CreateSourceRequest(source=Source(id="kb", polling=polling)))


async def test_masking_everything_reads_as_it_was_written(client: ApiClient) -> None:
    created = await client.sources.CreateSource(pb.CreateSourceRequest(source=Source(id="kb")))

    assert not created.source.HasField("masking")
    assert "not masked: register a token classification model" in created.source.warnings[0]
