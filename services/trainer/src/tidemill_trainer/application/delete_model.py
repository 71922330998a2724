"""Use case: delete a model with all its versions."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Clock, Request
from tidemill_core.errors import NotFound
from tidemill_trainer.application.ports import Models, Versions
from tidemill_trainer.application.references import References
from tidemill_trainer.domain.errors import ModelNotFound
from tidemill_trainer.domain.model import Model, version_id


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteCommand:
    """`expected_version` is the revision that the caller read; None deletes any revision."""

    model: str
    request: Request
    expected_version: int | None = None
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteModel:
    """Emits ModelWasDeleted once, then turns the versions into tombstones; their objects stay in the bucket."""

    models: Models
    versions: Versions
    references: References
    clock: Clock

    async def __call__(self, caller: Caller, command: DeleteCommand) -> Model:
        """Return the deleted model. Repeating the request completes an interrupted deletion.

        Raises:
            ModelNotFound: names the models that exist.
            ModelChanged: the model is not the one that the caller saw.

        """
        now = self.clock.now()
        if command.validate_only:
            model = await self.references.model(caller.project, command.model)
            model.delete(now=now, expected_version=command.expected_version)
            return model
        try:
            model = await self.models.upsert(
                Model(id=command.model, project=caller.project),
                lambda model: model.delete(now=now, expected_version=command.expected_version),
                request=command.request,
            )
        except ModelNotFound:
            raise await self.references.missing(caller.project, command.model) from None
        for number in model.live_numbers:
            await self._discard(caller.project, version_id(model.id, number))
        return model

    async def _discard(self, project: str, version: str) -> None:
        try:
            await self.versions.update(project, version, lambda v: v.discard(), request=Request.internal())
        except NotFound:
            return  # never created, or discarded by an earlier attempt
