"""Diff and apply of a loop's models."""

from collections.abc import Callable, Mapping
from pathlib import Path

from google.protobuf.field_mask_pb2 import FieldMask

from tidemill.trainer.v1.model_pb2 import HuggingFaceSource, Model, ModelApprovalPolicy, ModelSource, OpenAiSource
from tidemill.trainer.v1.model_registry_service_pb2 import GetModelRequest, ImportModelRequest, UpdateModelRequest
from tidemill_cli.loop import declaration
from tidemill_cli.loop.changes import Action, Change, Pending
from tidemill_client.connection import Connection
from tidemill_client.model_import import folder_source, import_model
from tidemill_core.errors import NotFound

MEGABYTE = 1_000_000
_NO_POLICY = ModelApprovalPolicy(role="operator")


class DeclaredModel:
    """A model of the file; versions are identified by content, so unchanged content has no effect."""

    kind = "model"

    def __init__(
        self, connection: Connection, name: str, declared: declaration.Model, labels: Mapping[str, str]
    ) -> None:
        self.name = name
        self._labels = labels
        self._connection = connection
        self._declared = declared
        self._folder: Path | None = None
        self._source: ModelSource | None = None

    async def diff(self, _pending: Pending) -> Change:
        """Return whether the registry has this content."""
        request = ImportModelRequest(model=self.name, source=await self._resolved(), validate_only=True)
        answer = await self._connection.models.ImportModel(request)
        note = "" if answer.created else answer.version.id
        guarded = await self._guarded(apply=False)
        return self._change(created=answer.created, guarded=guarded, note=note)

    async def apply(self, progress: Callable[[str, float], None]) -> Change:
        """Import the content if the registry does not have it."""
        version, created = await import_model(
            self._connection,
            self.name,
            await self._resolved(),
            folder=self._folder,
            labels=self._labels,
            progress=lambda done, total: progress(
                f"model {self.name}, {done // MEGABYTE} of {total // MEGABYTE} MB", done / max(total, 1)
            ),
        )
        guarded = await self._guarded(apply=True)
        return self._change(created=created, guarded=guarded, note=version.id)

    async def _guarded(self, *, apply: bool) -> bool:
        """Return whether the model's approval policy is another one than declared, after declaring it."""
        declared = ModelApprovalPolicy(role=self._declared.approval.role, count=self._declared.approval.count)
        try:
            model = (await self._connection.models.GetModel(GetModelRequest(id=self.name))).model
        except NotFound:
            return False
        current = model.approval if model.HasField("approval") else _NO_POLICY
        if current == declared:
            return False
        request = UpdateModelRequest(
            model=Model(id=self.name, approval=declared),
            update_mask=FieldMask(paths=["approval"]),
            validate_only=not apply,
        )
        await self._connection.models.UpdateModel(request)
        return True

    def _change(self, *, created: bool, guarded: bool, note: str) -> Change:
        action = Action.CREATE if created else Action.UPDATE if guarded else Action.NONE
        note = f"{note}, approval policy".removeprefix(", ") if guarded else note
        return Change(kind=self.kind, name=self.name, action=action, note=note)

    async def _resolved(self) -> ModelSource:
        """Return the source; a folder is hashed once."""
        if self._source is None:
            kind, _, address = self._declared.source.partition(":")
            if kind == "file":
                self._folder = Path(address)
                self._source = await folder_source(self._folder)
            elif kind == "hf":
                repository, _, revision = address.partition("@")
                self._source = ModelSource(hugging_face=HuggingFaceSource(repository=repository, revision=revision))
            else:
                secret = self._declared.api_key.secret if self._declared.api_key else ""
                self._source = ModelSource(
                    openai=OpenAiSource(model=address, base_url=self._declared.base_url or "", api_key_secret=secret)
                )
        return self._source
