"""Resolves the references `model` and `model@number`; errors list what exists."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tidemill_core.application import PageRequest
from tidemill_core.errors import InvalidInput, NotFound
from tidemill_trainer.errors import SHOWN, ModelNotFound, ModelVersionNotFound
from tidemill_trainer.registry.domain.model import Model, split_reference, version_id
from tidemill_trainer.registry.domain.model_version import ModelVersion, VersionState
from tidemill_trainer.registry.ports import Models, Versions

BATCH_SIZE = 100
"""Versions read by one query in the search for the newest ready ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Resolves references within a project."""

    models: Models
    versions: Versions

    async def model(self, project: str, model: str) -> Model:
        """Return the model.

        Raises:
            ModelNotFound: names the models that exist.

        """
        try:
            return await self.models.get(project, model)
        except NotFound:
            raise await self.missing(project, model) from None

    async def missing(self, project: str, model: str) -> ModelNotFound:
        """Return the error for a missing model, listing the existing ones."""
        page = await self.models.list(project, page=PageRequest(size=SHOWN + 1))
        return ModelNotFound(model, existing=[found.id for found in page.items])

    async def version(self, project: str, reference: str, *, field: str = "id") -> ModelVersion:
        """Return `model@number`, or the newest ready version of `model`; errors name `field`.

        Raises:
            InvalidInput: the reference is neither.
            ModelNotFound: names the models that exist.
            ModelVersionNotFound: names the versions that exist.

        """
        try:
            model_id, number = split_reference(reference)
        except ValueError as error:
            raise InvalidInput.at(field=field, text=str(error)) from error
        model = await self.model(project, model_id)
        found = (
            await self._numbered(model, number) if number else (await self.newest_ready(project, [model])).get(model.id)
        )
        if found is None:
            raise ModelVersionNotFound(reference, existing=await self._described(model))
        return found

    async def newest_ready(self, project: str, models: Sequence[Model]) -> Mapping[str, ModelVersion]:
        """Return the newest ready version of each model that has one, by the model's id.

        One query reads the newest version of all models, which is ready as a rule; further ones go back from there.
        """
        found = dict[str, ModelVersion]()
        left, of_each = {model.id: list(reversed(model.live_numbers)) for model in models}, 1
        while left := {model: numbers for model, numbers in left.items() if numbers}:
            ids = {model: [version_id(model, n) for n in numbers[:of_each]] for model, numbers in left.items()}
            read = await self.versions.get_many(project, [each for asked in ids.values() for each in asked])
            for model, asked in ids.items():
                ready = (read[each] for each in asked if each in read and read[each].state is VersionState.READY)
                if version := next(ready, None):
                    found[model] = version
            left = {model: numbers[of_each:] for model, numbers in left.items() if model not in found}
            of_each = max(1, BATCH_SIZE // max(1, len(left)))
        return found

    async def numbered(self, model: Model, numbers: Sequence[int]) -> Sequence[ModelVersion]:
        """Return the versions with these numbers, in order; numbers without a version are skipped."""
        ids = [version_id(model.id, number) for number in numbers]
        found = await self.versions.get_many(model.project, ids)
        return [found[version] for version in ids if version in found]

    async def _numbered(self, model: Model, number: int) -> ModelVersion | None:
        return next(iter(await self.numbered(model, [number] if number in model.live_numbers else [])), None)

    async def _described(self, model: Model) -> Sequence[str]:
        newest = await self.numbered(model, list(reversed(model.live_numbers))[: SHOWN + 1])
        return [f"{version.id} ({version.state.value})" for version in newest]
