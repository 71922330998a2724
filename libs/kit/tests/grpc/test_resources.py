"""Every RPC that is recorded names the resource that it acts on, and the log has it."""

import importlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from google.protobuf.descriptor import MethodDescriptor

import tidemill
from libs.kit.tests.grpc.support import Context, Lines, documents, serving, sources
from tidemill.feedback.v1.feedback_service_pb2 import EraseEndUserRequest
from tidemill.ingest.v1.document_service_pb2 import (
    DeleteDocumentRequest,
    DeleteDocumentResponse,
    DocumentSpec,
    UploadDocumentRequest,
    UploadDocumentResponse,
    UploadStart,
)
from tidemill.ingest.v1.source_service_pb2 import GetSourceRequest, GetSourceResponse
from tidemill.monitor.v1.retention_pb2 import RetentionKind
from tidemill.monitor.v1.retention_service_pb2 import SetRetentionRequest
from tidemill.options.v1 import options_pb2
from tidemill_core.errors import digest_of
from tidemill_kit.grpc.resources import UnknownResource, resource_of


def _methods() -> Iterator[MethodDescriptor]:
    for folder in map(Path, tidemill.__path__):
        for path in folder.rglob("*_service_pb2.py"):
            name = ".".join(["tidemill", *path.relative_to(folder).with_suffix("").parts])
            for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values():
                yield from service.methods


METHODS = {method.full_name: method for method in _methods()}


def test_the_contract_has_rpcs() -> None:
    assert METHODS


@pytest.mark.parametrize("name", sorted(METHODS))
def test_an_rpc_that_is_recorded_declares_a_resource_and_every_path_exists(name: str) -> None:
    options = METHODS[name].GetOptions()
    paths = options.Extensions[options_pb2.resource]
    acts_on_all = not METHODS[name].input_type.fields  # of the project, such as the export of its audit
    assert paths or acts_on_all or options.Extensions[options_pb2.audit] != options_pb2.AUDIT_CALL
    assert bool(paths) == (resource_of(METHODS[name].input_type, paths) is not None)


@pytest.mark.parametrize("path", ["gone", "id.of", "page_size", ""])
def test_a_path_that_leads_to_no_text_is_an_error_at_the_start(path: str) -> None:
    with pytest.raises(UnknownResource, match="GetSourceRequest has no text at"):
        resource_of(GetSourceRequest.DESCRIPTOR, [path])


@pytest.mark.parametrize(
    ("request_", "named"),
    [
        (DeleteDocumentRequest(id="d-1"), "d-1"),
        (DeleteDocumentRequest(source="wiki", key="jane-doe"), digest_of("jane-doe")),
        (DeleteDocumentRequest(id="two words"), digest_of("two words")),
        (DeleteDocumentRequest(id="base@3"), "base@3"),
        (DeleteDocumentRequest(id="jane@example.com"), digest_of("jane@example.com")),
        (DeleteDocumentRequest(), ""),
    ],
)
def test_an_id_is_named_and_other_text_or_a_key_of_a_source_only_by_its_digest(
    request_: DeleteDocumentRequest, named: str
) -> None:
    resource = resource_of(DeleteDocumentRequest.DESCRIPTOR, ["id", "key"])
    assert resource is not None
    assert resource(request_) == named


def test_an_end_user_is_named_by_a_digest() -> None:
    resource = resource_of(EraseEndUserRequest.DESCRIPTOR, ["end_user"])
    assert resource is not None
    assert resource(EraseEndUserRequest(end_user="jane")) == digest_of("jane")


async def test_the_log_line_has_the_resource_of_a_request_and_of_a_stream(lines: Lines) -> None:
    async def get(_request: GetSourceRequest, _context: Context) -> GetSourceResponse:
        return GetSourceResponse()

    async def delete(_request: DeleteDocumentRequest, _context: Context) -> DeleteDocumentResponse:
        return DeleteDocumentResponse()

    async def upload(chunks: AsyncIterator[UploadDocumentRequest], _context: Context) -> UploadDocumentResponse:
        async for _chunk in chunks:
            pass
        return UploadDocumentResponse()

    async def sent() -> AsyncIterator[UploadDocumentRequest]:
        yield UploadDocumentRequest(start=UploadStart(spec=DocumentSpec(source="wiki", key="faq")))
        yield UploadDocumentRequest(chunk=b"text")

    handlers = documents(UploadDocument=upload, DeleteDocument=delete)
    async with serving(sources(GetSource=get), handlers) as running:
        await running.get_source_plainly()
        await running.documents.DeleteDocument(DeleteDocumentRequest(id="d-1"))
        await running.documents.UploadDocument(sent())

    named = {line["method"].rpartition("/")[2]: line.get("resource") for line in lines.named("rpc_finished")}
    assert named == {"GetSource": "cms", "DeleteDocument": "d-1", "UploadDocument": digest_of("faq")}


def test_a_kind_is_named_by_the_contract_s_word() -> None:
    kind = resource_of(SetRetentionRequest.DESCRIPTOR, ["kind"])
    assert kind is not None
    assert kind(SetRetentionRequest(kind=RetentionKind.RETENTION_KIND_ANSWERS)) == "RETENTION_KIND_ANSWERS"
    assert not kind(SetRetentionRequest())
