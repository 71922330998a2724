"""Delete a prompt that no deployment uses."""

from dataclasses import dataclass

from tidemill_core.application import Caller, PageRequest, Request
from tidemill_inference.application.etags import check_etag
from tidemill_inference.application.ports.deployments import Deployments
from tidemill_inference.application.ports.prompts import Prompts
from tidemill_inference.domain.errors import PromptInUse
from tidemill_inference.domain.prompt import Prompt
from tidemill_inference.domain.references import Reference

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletePrompt:
    """The same request again returns the same prompt."""

    prompts: Prompts
    deployments: Deployments

    async def __call__(
        self,
        caller: Caller,
        prompt_id: str,
        *,
        request: Request,
        etag: str = "",
        validate_only: bool = False,
    ) -> Prompt:
        """Return the prompt as it was.

        Raises:
            PromptNotFound: the project has no such prompt.
            PromptInUse: names the deployments.
            Conflict: it has changed since `etag`.

        """
        if users := await self._users(caller.project, prompt_id):
            raise PromptInUse(prompt_id, deployments=users)

        def change(stored: Prompt) -> None:
            check_etag(etag, stored.version)
            stored.deleted = True

        if not validate_only:
            return await self.prompts.update(caller.project, prompt_id, change, request=request)
        prompt = await self.prompts.get(caller.project, prompt_id)
        check_etag(etag, prompt.version)
        return prompt

    async def _users(self, project: str, prompt_id: str) -> list[str]:
        users, page = [], PageRequest(size=_PAGE)
        while True:
            found = await self.deployments.list(project, page=page)
            users += [each.id for each in found.items if Reference.parse("prompt", each.live.prompt).name == prompt_id]
            if not found.next_token:
                return users
            page = PageRequest(size=_PAGE, token=found.next_token)
