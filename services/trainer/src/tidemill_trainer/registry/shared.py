"""Versions by the names that a project has for them: its own, and those that others share with it."""

from dataclasses import dataclass, replace

from tidemill_core.errors import NotFound
from tidemill_core.resources import ResolveShared, nothing_shared
from tidemill_trainer.errors import ModelVersionNotFound
from tidemill_trainer.registry.domain.model import version_id
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.domain.sources import DerivedSource, OpenAiSource, TrainedSource
from tidemill_trainer.registry.references import References


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedVersions:
    """Resolves `model`, `model@number` and, as long as that project shares it, `project/model@number`."""

    references: References
    shared: ResolveShared = nothing_shared

    async def version(self, project: str, reference: str, *, field: str = "id") -> ModelVersion:
        """Return the version; one of another project has the name that it is asked for by, and no more than it needs.

        Raises:
            As `References.version`: in the words for what is not there where it is not shared.

        """
        name, at, number = reference.partition("@")
        if "/" not in name:
            return await self.references.version(project, reference, field=field)
        found = self.shared(project, name)
        if found is None:
            raise await self.references.missing(project, name)
        owner, model = found
        if owner == project:
            return await self.references.version(project, f"{model}{at}{number}", field=field)
        try:
            version = await self.references.version(owner, f"{model}{at}{number}", field=field)
        except ModelVersionNotFound:
            raise ModelVersionNotFound(reference, existing=[]) from None
        except NotFound:
            raise await self.references.missing(project, name) from None
        return _as_shared(version)

    async def base_of(self, project: str, version: ModelVersion) -> ModelVersion | None:
        """Return what an adapter of another project belongs to: it is shared with the adapter.

        What the owner may read only because a third project shares it is not shared on.
        """
        if version.project == project or not version.base:
            return None
        owner, _, base = version.base.partition("/")
        return _as_shared(await self.references.version(owner, base)) if owner == version.project else None


def _as_shared(version: ModelVersion) -> ModelVersion:
    """Return what another project sees: name, state and files, and not who made it, from what, and for what."""
    source, owner = version.source, version.project
    match source:
        case TrainedSource():
            base = source.base if "/" in source.base or not source.base else f"{owner}/{source.base}"
            source = TrainedSource(run="", base=base, dataset_version="")
        case DerivedSource():
            method = source.method.partition(" ")[0]  # without the dataset whose examples were read
            source = DerivedSource(derivation="", source_version="", method=method)
        case OpenAiSource():
            source = replace(source, api_key_secret="")
    model = f"{owner}/{version.model}"
    return ModelVersion(  # of what is not listed here, nothing
        id=version_id(model, version.number),
        project=owner,
        model=model,
        number=version.number,
        source=source,
        state=version.state,
        begun_by="",
        artifacts=version.artifacts,
        digest=version.digest,
        expected_bytes=version.expected_bytes,
        reward_model=replace(version.reward_model, accuracy=None) if version.reward_model else None,
    )
