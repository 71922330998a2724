"""What calls of other services carry: the service's own credential, the project, and whom it calls for."""

import time
from pathlib import Path

import pytest

from libs.kit.tests.grpc.support import Context, documents, serving, sources
from tidemill.ingest.v1.document_service_pb2 import ListDocumentsRequest, ListDocumentsResponse
from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub
from tidemill.ingest.v1.source_service_pb2 import DeleteSourceRequest, GetSourceRequest, GetSourceResponse
from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, PermissionDenied
from tidemill_core.grpc.client import NoCaller, open_channel
from tidemill_core.grpc.context import acting_as
from tidemill_core.grpc.credentials import FileCredential, NoCredential
from tidemill_testkit.access import TestIssuer, access_of, service_channel, service_token

TOKEN = "a.b.c"  # noqa: S105 - of no use
KEYS = ("authorization", "tidemill-project", "tidemill-on-behalf-of")


class Seen:
    """What arrives with a call."""

    def __init__(self) -> None:
        self.metadata: list[tuple[str, str]] = []

    async def list(self, _request: ListDocumentsRequest, context: Context) -> ListDocumentsResponse:
        await self.get(GetSourceRequest(), context)
        return ListDocumentsResponse()

    async def get(self, _request: GetSourceRequest, context: Context) -> GetSourceResponse:
        sent = context.invocation_metadata() or ()
        self.metadata = [(str(key), str(value)) for key, value in sent if key in KEYS]
        return GetSourceResponse()


@pytest.mark.parametrize(
    ("subject", "carried"),
    [
        ("user:ada@example.org", [("tidemill-on-behalf-of", "user:ada@example.org")]),
        ("service_account:ci", [("tidemill-on-behalf-of", "service_account:ci")]),
        ("tidemill-rag", []),
        ("service:rag", []),
        ("", []),
        ("user:a\r\nb", []),
    ],
)
async def test_a_service_names_the_person_whom_it_calls_for(subject: str, carried: list[tuple[str, str]]) -> None:
    seen = Seen()
    async with (
        serving(documents(ListDocuments=seen.list)) as running,
        service_channel("rag", running.address) as channel,
    ):
        with acting_as(Caller(project="acme", subject=subject)):
            await DocumentServiceStub(channel).ListDocuments(ListDocumentsRequest())

    assert sorted(seen.metadata) == sorted(
        [("authorization", f"Bearer {service_token('rag')}"), ("tidemill-project", "acme"), *carried]
    )


async def test_a_person_s_client_needs_no_project_beside_its_credential(tmp_path: Path) -> None:
    issuer, seen = TestIssuer(tmp_path), Seen()
    token = issuer.token("acme", "viewer")
    async with (
        serving(sources(GetSource=seen.get), access=access_of(issuer)) as running,
        open_channel(running.address, credential=lambda: token) as channel,
    ):
        await SourceServiceStub(channel).GetSource(GetSourceRequest(id="cms"))

    assert seen.metadata == [("authorization", f"Bearer {token}")]


async def test_a_service_s_call_for_no_project_is_not_sent() -> None:
    async with open_channel("127.0.0.1:1", credential=lambda: TOKEN, on_behalf=True) as channel:
        with pytest.raises(NoCaller):
            await SourceServiceStub(channel).GetSource(GetSourceRequest(id="cms"))


@pytest.mark.parametrize("text", ["", TOKEN, "expired", None])
async def test_a_service_s_own_bad_token_is_not_held_against_its_caller_and_may_be_renewed(
    tmp_path: Path, text: str | None
) -> None:
    issuer, file = TestIssuer(tmp_path), tmp_path / "credential"
    expired = issuer.token("*", subject="service:rag", issue_time=time.time() - 900, expire_time=time.time() - 600)
    file.write_text(expired if text == "expired" else text or "", encoding="utf-8")
    credential = None if text is None else FileCredential(file)
    async with (
        serving(sources(GetSource=Seen().get), access=access_of(issuer)) as running,
        open_channel(running.address, name="ingest", credential=credential, on_behalf=True) as channel,
    ):
        with acting_as(Caller(project="acme", subject="user:ada")), pytest.raises(DependencyUnavailable) as refused:
            await SourceServiceStub(channel).GetSource(GetSourceRequest(id="cms"))
    assert (refused.value.reason, refused.value.dependency) == ("OWN_CREDENTIAL_UNUSABLE", "ingest")
    assert "ACCESS_CREDENTIAL_FILE" in refused.value.message
    assert str(tmp_path) not in refused.value.message


async def test_what_a_service_may_not_call_is_not_held_against_its_caller(tmp_path: Path) -> None:
    issuer = TestIssuer(tmp_path)
    token = issuer.service_token("feedback")
    async with (
        serving(sources(DeleteSource=Seen().get), access=access_of(issuer)) as running,
        open_channel(running.address, name="ingest", credential=lambda: token, on_behalf=True) as channel,
    ):
        with acting_as(Caller(project="acme", subject="user:ada")), pytest.raises(DependencyUnavailable) as refused:
            await SourceServiceStub(channel).DeleteSource(DeleteSourceRequest(id="cms"))
    assert (refused.value.reason, refused.value.dependency) == ("SERVICE_REFUSED", "ingest")


async def test_what_a_person_may_not_do_is_said_to_the_person(tmp_path: Path) -> None:
    issuer = TestIssuer(tmp_path)
    token = issuer.token("acme", "viewer")
    async with (
        serving(sources(DeleteSource=Seen().get), access=access_of(issuer)) as running,
        open_channel(running.address, name="ingest", credential=lambda: token) as channel,
    ):
        with pytest.raises(PermissionDenied) as refused:
            await SourceServiceStub(channel).DeleteSource(DeleteSourceRequest(id="cms"))
    assert refused.value.reason == "ROLE_REQUIRED"


def test_a_changed_file_counts_at_the_next_call(tmp_path: Path) -> None:
    file = tmp_path / "credential"
    credential = FileCredential(file)
    with pytest.raises(NoCredential, match="has no credential"):
        credential()
    file.write_text("first\n", encoding="utf-8")
    assert (credential(), credential()) == ("first", "first")
    file.write_text("another\n", encoding="utf-8")
    assert credential() == "another"
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(NoCredential):
        credential()
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(NoCredential) as refused:
        credential()
    assert "xff" not in refused.value.message
