"""Whether a version of a prompt may take the place of the live one."""

from tidemill_core.application import Caller
from tidemill_inference.prompts.domain.errors import PromptNotFound, PromptVersionNotFound
from tidemill_inference.prompts.domain.prompt import Prompt, PromptVersion
from tidemill_inference.prompts.domain.references import Reference
from tidemill_inference.prompts.ports import ReadPrompts
from tidemill_inference.rollouts.domain.errors import PromptNotReady


class StoredPrompts:
    """Implements `ports.CandidatePrompts`."""

    def __init__(self, prompts: ReadPrompts) -> None:
        self._prompts = prompts

    async def check(self, caller: Caller, prompt: str, *, before: str) -> frozenset[str]:
        """See `CandidatePrompts.check`."""
        _, version = await self._found(caller, prompt)
        _, live = await self._found(caller, before)
        if version.content.variables != live.content.variables:
            why = f"it takes other variables than {before}, so that requests fit one of them only: apply it by hand"
            raise PromptNotReady(prompt, why=why)
        return version.authors

    async def check_approved(self, caller: Caller, prompt: str) -> None:
        """See `CandidatePrompts.check_approved`."""
        found, version = await self._found(caller, prompt)
        found.check_approved(version, named=found.id)

    async def _found(self, caller: Caller, prompt: str) -> tuple[Prompt, PromptVersion]:
        reference = Reference.of_prompt(prompt)
        try:
            found = await self._prompts.get(caller.project, reference.name)
            return found, found.resolve(reference.pin)
        except (PromptNotFound, PromptVersionNotFound) as error:
            raise PromptNotReady(prompt, why=error.message) from error
