"""DocumentService."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from tidemill.ingest.v1 import document_pb2, document_service_pb2_grpc
from tidemill.ingest.v1 import document_service_pb2 as pb
from tidemill_core.application import Page
from tidemill_core.errors import InvalidInput, Violation
from tidemill_ingest.documents.accept_document import AcceptCommand, AcceptDocument
from tidemill_ingest.documents.crud import DeleteCommand, DeleteDocument, ReadDocuments, VersionName
from tidemill_ingest.documents.domain.document import Document
from tidemill_ingest.documents.domain.submission import DocumentName, Submission, SubmissionChannel
from tidemill_ingest.documents.labelled import ReadLabelled
from tidemill_ingest.documents.messages import (
    document_message,
    label_messages,
    member_messages,
    spec_of,
    step_message,
    version_message,
)
from tidemill_ingest.documents.outcomes import counted
from tidemill_ingest.documents.reveal_pseudonyms import RevealPseudonyms
from tidemill_ingest.documents.uploads import Uploads
from tidemill_ingest.documents.withheld import ReleaseDocument
from tidemill_kit.audit.calls import counted as counted_in_audit
from tidemill_kit.grpc.server import current_caller, page_of, request_of, required, write_of
from tidemill_kit.mapping import to_message


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentServicer(document_service_pb2_grpc.DocumentServiceServicer):
    """Message -> command -> use case -> message."""

    accept: AcceptDocument
    delete: DeleteDocument
    reading: ReadDocuments
    labelled: ReadLabelled
    release: ReleaseDocument
    reveal: RevealPseudonyms
    uploads: Uploads

    async def CreateDocument(self, request: pb.CreateDocumentRequest, _context: object) -> pb.CreateDocumentResponse:
        """See the contract."""
        return pb.CreateDocumentResponse(document=await self._accept(request, must_exist=False))

    async def UpdateDocument(self, request: pb.UpdateDocumentRequest, _context: object) -> pb.UpdateDocumentResponse:
        """See the contract."""
        document = await self._accept(request, must_exist=True, etag=request.etag)
        return pb.UpdateDocumentResponse(document=document)

    async def UploadDocument(
        self, request_iterator: AsyncIterator[pb.UploadDocumentRequest], _context: object
    ) -> pb.UploadDocumentResponse:
        """See the contract."""
        async with self.uploads.received(current_caller().project, request_iterator) as upload:
            command = AcceptCommand(
                spec=upload.spec,
                content=upload.content,
                submission=Submission(door=SubmissionChannel.UPLOAD, id=upload.request.id),
                request=upload.request,
            )
            document = counted(SubmissionChannel.UPLOAD, await self.accept(current_caller(), command))
        return pb.UploadDocumentResponse(document=document_message(document))

    async def GetDocument(self, request: pb.GetDocumentRequest, _context: object) -> pb.GetDocumentResponse:
        """See the contract."""
        document = await self.reading.get(current_caller(), _name(request))
        return pb.GetDocumentResponse(
            document=document_message(document),
            members=member_messages(document),
            outdated=await self.reading.is_outdated(document),
            labels=label_messages(document, await self.labelled.of_document(current_caller(), document)),
        )

    async def GetDocumentText(self, request: pb.GetDocumentTextRequest, _context: object) -> pb.GetDocumentTextResponse:
        """See the contract."""
        text, version = await self.reading.text(current_caller(), request.id, number=request.version)
        return to_message(pb.GetDocumentTextResponse, text, version=version_message(version))

    async def ListDocuments(self, request: pb.ListDocumentsRequest, _context: object) -> pb.ListDocumentsResponse:
        """See the contract."""
        if request.label:
            page = await self._with_label(request)
        else:
            page = await self.reading.list(
                current_caller(),
                page_of(request, filters={"source": "source"}),
                source=request.source,
                parent=request.parent,
                show_all=request.show_all,
            )
        return pb.ListDocumentsResponse(
            documents=[document_message(document) for document in page.items], next_page_token=page.next_token
        )

    async def CheckReaders(self, request: pb.CheckReadersRequest, _context: object) -> pb.CheckReadersResponse:
        """See the contract."""
        names = [VersionName(each.document, each.version) for each in request.versions]
        restricted = await self.reading.restricted(current_caller(), names, principals=request.principals)
        return pb.CheckReadersResponse(
            restricted=[pb.VersionName(document=each.document, version=each.version) for each in restricted]
        )

    async def DeleteDocument(self, request: pb.DeleteDocumentRequest, _context: object) -> pb.DeleteDocumentResponse:
        """See the contract."""
        intent = request_of(request)
        command = DeleteCommand(
            name=_name(request),
            submission=Submission(door=SubmissionChannel.GRPC, id=intent.id),
            request=intent,
            revision=request.revision,
            erase=request.erase,
            reason=request.delete_reason,
            etag=request.etag,
            # A caller that gives the revision means a document that may still be on its way.
            unknown_too=request.revision > 0,
            validate_only=request.validate_only,
        )
        document = await self.delete(current_caller(), command)
        shown = document if request.validate_only else counted(SubmissionChannel.GRPC, document)
        return pb.DeleteDocumentResponse(document=document_message(shown))

    async def ReleaseDocument(self, request: pb.ReleaseDocumentRequest, _context: object) -> pb.ReleaseDocumentResponse:
        """See the contract."""
        name, write = _name(request), write_of(request)
        document = await self.release(current_caller(), name, number=request.version, write=write)
        return pb.ReleaseDocumentResponse(document=document_message(document))

    async def ExplainDocument(self, request: pb.ExplainDocumentRequest, _context: object) -> pb.ExplainDocumentResponse:
        """See the contract."""
        document, waiting = await self.reading.explain(current_caller(), _name(request))
        steps = [step_message(step, published=step.seq > 0 and step.seq not in waiting) for step in document.steps]
        return pb.ExplainDocumentResponse(
            document=document_message(document),
            steps=steps,
            members=member_messages(document),
            labels=label_messages(document, await self.labelled.of_document(current_caller(), document)),
        )

    async def RevealPseudonyms(
        self, request: pb.RevealPseudonymsRequest, _context: object
    ) -> pb.RevealPseudonymsResponse:
        """See the contract."""
        found = await self.reveal(
            current_caller(), _name(request), number=request.version, pseudonyms=request.pseudonyms
        )
        counted_in_audit(len(found.values))
        return pb.RevealPseudonymsResponse(
            revealed=[pb.RevealedPseudonym(pseudonym=each, value=value) for each, value in found.values.items()],
            unknown=found.unknown,
            version=found.version,
        )

    async def _with_label(self, request: pb.ListDocumentsRequest) -> Page[Document]:
        if given := [name for name in ("order_by", "filter", "parent") if getattr(request, name)]:
            raise InvalidInput.of(*(Violation(name, "is not for lists by label: leave it empty") for name in given))
        return await self.labelled.documents_with(
            current_caller(), request.label, page_of(request), source=request.source, show_all=request.show_all
        )

    async def _accept(
        self, request: pb.CreateDocumentRequest | pb.UpdateDocumentRequest, *, must_exist: bool, etag: str = ""
    ) -> document_pb2.Document:
        required(request, "spec")
        intent = request_of(request)
        command = AcceptCommand(
            spec=spec_of(request.spec),
            content=request.content,
            submission=Submission(door=SubmissionChannel.GRPC, id=intent.id),
            request=intent,
            validate_only=request.validate_only,
            must_exist=must_exist,
            etag=etag,
        )
        document = await self.accept(current_caller(), command)
        return document_message(document if request.validate_only else counted(SubmissionChannel.GRPC, document))


def _name(
    request: pb.GetDocumentRequest
    | pb.DeleteDocumentRequest
    | pb.ExplainDocumentRequest
    | pb.ReleaseDocumentRequest
    | pb.RevealPseudonymsRequest,
) -> DocumentName:
    return DocumentName(id=request.id, source=request.source, key=request.key)
