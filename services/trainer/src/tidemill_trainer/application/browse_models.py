"""Use cases: get and list models and versions."""

from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.errors import InvalidInput, Violation
from tidemill_trainer.application.ports import Models
from tidemill_trainer.application.references import References
from tidemill_trainer.domain.model import Model
from tidemill_trainer.domain.model_version import ModelVersion

LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOverview:
    """A model and the number of its newest ready version, 0 if it has none."""

    model: Model
    latest_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowseModels:
    """The newest ready version is computed on read; it is not stored."""

    models: Models
    references: References

    async def model(self, caller: Caller, model_id: str) -> ModelOverview:
        """Return one model.

        Raises:
            ModelNotFound: names the models that exist.

        """
        return await self._overview(await self.references.model(caller.project, model_id))

    async def list_models(self, caller: Caller, page: PageRequest) -> Page[ModelOverview]:
        """Return a page of models, oldest first.

        Raises:
            InvalidInput: the page's size or token is not usable.

        """
        found = await self.models.list(caller.project, page=page)
        return Page(items=[await self._overview(model) for model in found.items], next_token=found.next_token)

    async def version(self, caller: Caller, reference: str) -> ModelVersion:
        """Return `model@number`, or for `model` its newest ready version; as `References.version`."""
        return await self.references.version(caller.project, reference)

    async def list_versions(self, caller: Caller, model_id: str, page: PageRequest) -> Page[ModelVersion]:
        """Return a page of a model's versions by number; the token is the last number of the page before.

        Raises:
            ModelNotFound: names the models that exist.
            InvalidInput: the page's size or token is not usable.

        """
        if not 0 < page.size <= LARGEST_PAGE:
            raise InvalidInput.of(Violation(field="page_size", description=f"must be 1 to {LARGEST_PAGE}"))
        if page.token and not (page.token.isascii() and page.token.isdigit()):
            description = "is invalid: use next_page_token of the previous page"
            raise InvalidInput.of(Violation(field="page_token", description=description))
        model = await self.references.model(caller.project, model_id)
        after = int(page.token or 0)
        numbers = [number for number in model.live_numbers if number > after]
        shown = numbers[: page.size]
        versions = await self.references.numbered(model, shown)
        return Page(items=versions, next_token=str(shown[-1]) if len(shown) < len(numbers) else "")

    async def _overview(self, model: Model) -> ModelOverview:
        newest = await self.references.newest_ready(model)
        return ModelOverview(model=model, latest_version=newest.number if newest else 0)
