"""Get, list and delete models and their versions."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Page, PageRequest, Request
from tidemill_core.approvals import ApprovalPolicy
from tidemill_core.errors import NotFound
from tidemill_core.paging import numbered_page
from tidemill_core.resources import Write, delete
from tidemill_trainer.errors import ModelChanged, ModelNotFound
from tidemill_trainer.registry.domain.model import Model, version_id
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.ports import Models, Versions
from tidemill_trainer.registry.references import References
from tidemill_trainer.registry.shared import SharedVersions


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOverview:
    """A model and the number of its newest ready version, 0 if it has none."""

    model: Model
    latest_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCrud:
    """Models and their versions. Every call raises ModelNotFound, which names the models that exist."""

    models: Models
    versions: Versions
    references: References
    shared: SharedVersions
    clock: Clock

    async def get(self, caller: Caller, model_id: str) -> ModelOverview:
        """Return one model."""
        model = await self.references.model(caller.project, model_id)
        return (await self._overviews(caller, [model]))[0]

    async def list(self, caller: Caller, page: PageRequest) -> Page[ModelOverview]:
        """Return a page of models, oldest first.

        Raises:
            InvalidInput: the page's size or token is not usable.

        """
        found = await self.models.list(caller.project, page=page)
        return Page(items=await self._overviews(caller, found.items), next_token=found.next_token)

    async def get_version(self, caller: Caller, reference: str) -> ModelVersion:
        """Return `model@number`, or for `model` its newest ready version; as `SharedVersions.version`."""
        return await self.shared.version(caller.project, reference)

    async def base_of(self, caller: Caller, version: ModelVersion) -> ModelVersion | None:
        """Return what comes with a version of another project; as `SharedVersions.base_of`."""
        return await self.shared.base_of(caller.project, version)

    async def list_versions(self, caller: Caller, model_id: str, page: PageRequest) -> Page[ModelVersion]:
        """Return a page of a model's versions, by number.

        Raises:
            InvalidInput: the page's size or token is not usable.

        """
        model = await self.references.model(caller.project, model_id)
        shown, token = numbered_page(model.live_numbers, page)
        return Page(items=await self.references.numbered(model, shown), next_token=token)

    async def delete(self, caller: Caller, model_id: str, write: Write) -> Model:
        """Return the deleted model. Repeating the request completes an interrupted deletion.

        Emits ModelWasDeleted once, then turns the versions into tombstones; their objects stay in the bucket.

        Raises:
            ModelChanged: the model is not the one that the caller saw.
            ApprovalPolicyLowered: it has a policy, which made anew it would be without, and the caller is no admin.

        """
        now, project = self.clock.now(), caller.project

        def end(model: Model) -> None:
            model.approval.check_change(caller, ApprovalPolicy())
            model.end(now)

        try:
            model = await delete(self.models, project, model_id, write, change=end, changed=ModelChanged)
        except ModelNotFound:
            raise await self.references.missing(project, model_id) from None
        # A model that is not deleted was made anew after this request: its versions are others.
        for number in model.live_numbers if model.deleted and not write.validate_only else ():
            with suppress(NotFound):  # never created, or discarded by an earlier attempt
                version = version_id(model_id, number)
                await self.versions.update(project, version, lambda v: v.discard(), request=Request.internal())
        return model

    async def _overviews(self, caller: Caller, models: Sequence[Model]) -> Sequence[ModelOverview]:
        newest = await self.references.newest_ready(caller.project, models)
        numbers = {model: version.number for model, version in newest.items()}
        return [ModelOverview(model=model, latest_version=numbers.get(model.id, 0)) for model in models]
