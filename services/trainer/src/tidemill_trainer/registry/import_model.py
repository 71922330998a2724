"""Use case: import a model version, or return the existing version with the same content."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tidemill_core.application import Caller, Clock, Request, ResourceKey, derived_id
from tidemill_core.errors import DependencyUnavailable, NotFound
from tidemill_core.resources import check_labels, check_slug
from tidemill_trainer.errors import ImportForgotten
from tidemill_trainer.registry.domain.limits import ImportLimits
from tidemill_trainer.registry.domain.model import Model, version_id
from tidemill_trainer.registry.domain.model_rules import check_model_files
from tidemill_trainer.registry.domain.model_version import ModelVersion, VersionState
from tidemill_trainer.registry.domain.sources import FolderSource, HuggingFaceSource, OpenAiSource, Source
from tidemill_trainer.registry.ports import Hub, Models, Versions


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportCommand:
    """With `validate_only` everything is checked and nothing stored."""

    model: str
    source: Source
    request: Request
    labels: dict[str, str] = field(default_factory=dict)
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The version, and whether this request created it (or would have)."""

    version: ModelVersion
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportModel:
    """The same content gives the same version. A remote model is READY at once and emits ModelVersionWasRegistered.

    First the model gives out the number, then the version is saved under it: a call that broke off in between is
    completed by its retry, and leaves at worst a number without a version.
    """

    models: Models
    versions: Versions
    hub: Hub
    limits: ImportLimits
    clock: Clock
    enqueue: Callable[[ResourceKey], None]

    async def __call__(self, caller: Caller, command: ImportCommand) -> Imported:
        """Return the version with this content.

        Raises:
            ArtifactRefused: a file of the folder may not be part of a model.
            InvalidInput: the id, a label, the source or its size is not usable.
            RequestIdReused: this request had another body.

        """
        check_slug("model", command.model)
        check_labels("labels", command.labels)
        if isinstance(command.source, FolderSource):
            files = command.source.manifest.files
            self.limits.check([(file.path, file.size) for file in files], field="source.folder.files")
            check_model_files([file.path for file in files])
        if isinstance(command.source, OpenAiSource):
            command.source.check_address()
        source = await self._resolved(caller.project, command.source)
        model = await self._model(caller.project, command.model)
        found = await self._found(model, source)
        failed = found.number if found and _may_be_tried_again(found) else 0
        present = None if failed else found
        if command.validate_only:
            fresh = self._fresh(caller, command, source, number=model.version_count + 1)
            return Imported(version=present or fresh, created=present is None)
        if present and present.begun_by != command.request.id:
            return Imported(version=await self._renamed(present, source), created=False)
        return await self._begun(caller, command, source, instead_of=failed)

    async def _resolved(self, project: str, source: Source) -> Source:
        """Ask the hub what the revision means now; where it does not answer, a worker will ask again."""
        if not isinstance(source, HuggingFaceSource) or source.commit:
            return source
        try:
            return replace(source, commit=await self.hub.commit_of(project, source.repository, source.revision))
        except DependencyUnavailable:
            return source

    async def _model(self, project: str, model: str) -> Model:
        try:
            return await self.models.get(project, model)
        except NotFound:
            return Model(id=model, project=project)

    async def _found(self, model: Model, source: Source) -> ModelVersion | None:
        name = version_id(model.id, model.numbers.get(source.key, 0))
        return (await self.versions.get_many(model.project, [name])).get(name)

    async def _renamed(self, version: ModelVersion, source: Source) -> ModelVersion:
        """Return the version with the secret that the source names now."""
        if not isinstance(source, OpenAiSource) or source == version.source:
            return version
        secret = source.api_key_secret
        return await self.versions.update(
            version.project, version.id, lambda v: v.name_secret(secret), request=Request.internal()
        )

    async def _begun(self, caller: Caller, command: ImportCommand, source: Source, *, instead_of: int) -> Imported:
        alias = source.alias if isinstance(source, HuggingFaceSource) else ""
        model = await self.models.upsert(
            Model(id=command.model, project=caller.project),
            lambda model: model.begin(source.key, alias=alias, instead_of=instead_of),
            request=command.request,
        )
        # The branch may have moved since the first attempt of this request: the alias refers to that attempt.
        number = model.numbers.get(source.key) or model.numbers.get(alias)
        if number is None:
            raise ImportForgotten(command.model)
        fresh = self._fresh(caller, command, source, number=number)
        saving = Request(id=derived_id("import", caller.project, fresh.id), digest=fresh.id)
        version = await self.versions.add(fresh, request=saving)
        if version.state is VersionState.IMPORTING:
            self.enqueue(ResourceKey(project=version.project, id=version.id))
        return Imported(version=version, created=version.begun_by == command.request.id)

    def _fresh(self, caller: Caller, command: ImportCommand, source: Source, *, number: int) -> ModelVersion:
        return ModelVersion.begin(
            project=caller.project,
            model=command.model,
            number=number,
            source=source,
            labels=command.labels,
            by=command.request.id,
            now=self.clock.now(),
            creator=caller.proven_subject,
        )


def _may_be_tried_again(version: ModelVersion) -> bool:
    """Fetching may succeed another day; the same files uploaded again are still the same files."""
    return version.state is VersionState.FAILED and isinstance(version.source, HuggingFaceSource)
