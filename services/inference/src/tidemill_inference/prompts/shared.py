"""Prompts by the names that a project has for them: its own, and those that others share with it."""

from tidemill_core.application import Page, PageRequest
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.domain.prompt import Prompt
from tidemill_inference.prompts.ports import ReadPrompts
from tidemill_kit.access.grants import Grants, Shared, SharedNames


class SharedPrompts:
    """Implements `ports.ReadPrompts`."""

    def __init__(self, prompts: ReadPrompts, grants: Grants) -> None:
        self._prompts = prompts
        self._named = SharedNames(grants, Shared.PROMPT)

    async def get(self, project: str, name: str, /) -> Prompt:
        """See `ReadPrompts.get`."""
        found = self._named(project, name)
        if found is None:
            raise PromptNotFound(name)
        try:
            return await self._prompts.get(*found)
        except PromptNotFound:
            raise PromptNotFound(name) from None  # in the words of who asked

    async def list(self, project: str, *, page: PageRequest) -> Page[Prompt]:
        """See `ReadPrompts.list`."""
        return await self._prompts.list(project, page=page)
