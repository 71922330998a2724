"""Create a prompt, write its next version, label a version, delete it."""

from dataclasses import dataclass, field

from tidemill_core.application import Caller, Clock, PageRequest, Request
from tidemill_core.errors import AlreadyExists, InvalidInput, NotFound, Violation
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.errors import PromptInUse
from tidemill_inference.etags import check_etag
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.domain.references import Reference, check_slug
from tidemill_inference.prompts.ports import Prompts, Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptToCreate:
    """A new prompt with its first version."""

    id: str
    content: PromptContent
    labels: dict[str, str] = field(default_factory=dict)
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChange:
    """What to change; None leaves it as it is. `etag` names what the change was decided on, "" anything."""

    id: str
    content: PromptContent | None = None
    labels: dict[str, str] | None = None
    request: Request
    etag: str = ""
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelToSet:
    """Which version a label is to point to."""

    id: str
    label: str
    version: int
    request: Request
    validate_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePrompt:
    """The same request again returns the prompt that it made."""

    prompts: Prompts
    templates: Templates
    clock: Clock

    async def __call__(self, caller: Caller, command: PromptToCreate) -> Prompt:
        """Return the new prompt.

        Raises:
            InvalidInput: the id is no slug.
            PromptRefused: a template or the schema cannot be used.
            AlreadyExists: the id is taken.

        """
        check_slug("prompt.id", command.id)
        checked = await self.templates.check(caller.project, command.content)
        prompt = Prompt(id=command.id, project=caller.project, labels=command.labels)
        prompt.write(checked.content, digest=checked.digest, now=self.clock.now())
        if not command.validate_only:
            return await self.prompts.add(prompt, request=command.request)
        try:
            await self.prompts.get(caller.project, command.id)
        except NotFound:
            return prompt
        message = f"{command.id} exists already: choose another id, or update it"
        raise AlreadyExists(message, id=command.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePrompt:
    """Content that differs in something that counts becomes the next version; the same content changes nothing."""

    prompts: Prompts
    templates: Templates
    clock: Clock

    async def __call__(self, caller: Caller, command: PromptChange) -> Prompt:
        """Return the changed prompt.

        Raises:
            PromptNotFound: the project has no such prompt.
            PromptRefused: a template or the schema cannot be used.
            Conflict: it has changed since `etag`.

        """
        checked = await self.templates.check(caller.project, command.content) if command.content else None
        now = self.clock.now()

        def change(prompt: Prompt) -> None:
            check_etag(command.etag, prompt.version)
            if checked:
                prompt.write(checked.content, digest=checked.digest, now=now)
            if command.labels is not None:
                prompt.labels = command.labels

        if not command.validate_only:
            return await self.prompts.update(caller.project, command.id, change, request=command.request)
        prompt = await self.prompts.get(caller.project, command.id)
        change(prompt)
        return prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelPrompt:
    """A label that points there already changes nothing."""

    prompts: Prompts

    async def __call__(self, caller: Caller, command: LabelToSet) -> Prompt:
        """Return the prompt with the label set.

        Raises:
            InvalidInput: the label is no slug, or a number.
            PromptNotFound: the project has no such prompt.
            PromptVersionNotFound: the prompt has no such version.

        """
        check_slug("label", command.label)
        if command.label.isdecimal():
            text = f"is {command.label!r}, which would be read as a version: take a word"
            raise InvalidInput.of(Violation(field="label", description=text))

        def change(prompt: Prompt) -> None:
            prompt.label(command.label, version=command.version)

        if not command.validate_only:
            return await self.prompts.update(caller.project, command.id, change, request=command.request)
        prompt = await self.prompts.get(caller.project, command.id)
        change(prompt)
        return prompt


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
