"""Prompts: create one, write its next version, label or approve a version, delete it."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_core.application import Caller, Clock
from tidemill_core.approvals import ApprovalPolicy, approval_of
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, check_labels, check_slug, create, delete, list_all, refuse, update
from tidemill_inference.deployments.ports import Deployments
from tidemill_inference.prompts.domain.errors import PromptInUse
from tidemill_inference.prompts.domain.labels import NO_PROTECTION, LabelProtection
from tidemill_inference.prompts.domain.origins import Inherited
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.domain.references import Reference
from tidemill_inference.prompts.ports import Prompts, Templates

_NO_POLICY = ApprovalPolicy()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCrud:
    """The same request again returns what it made."""

    prompts: Prompts
    templates: Templates
    deployments: Deployments
    clock: Clock

    async def create(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        caller: Caller,
        prompt_id: str,
        content: PromptContent,
        *,
        labels: Mapping[str, str],
        approval: ApprovalPolicy = _NO_POLICY,
        label_protection: LabelProtection = NO_PROTECTION,
        inherited: Inherited | None = None,
        write: Write,
    ) -> Prompt:
        """Return a new prompt with its first version, which may be that of another prompt.

        Raises:
            InvalidInput: the id is no slug, or the policy or the labels are out of bounds.
            PromptRefused: a template or the schema cannot be used.
            AlreadyExists: the id is taken.

        """
        check_slug("prompt.id", prompt_id)
        check_labels("prompt.labels", labels)
        refuse(label_protection.violations("prompt.label_protection"))
        _NO_POLICY.check_change(caller, approval)
        checked = await self.templates.check(caller.project, content)
        prompt = Prompt(
            id=prompt_id,
            project=caller.project,
            labels=dict(labels),
            approval=approval,
            label_protection=label_protection,
        )
        creator = caller.proven_subject
        prompt.write(checked.content, digest=checked.digest, now=self.clock.now(), creator=creator, inherited=inherited)
        return await create(self.prompts, prompt, write)

    async def update(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        caller: Caller,
        prompt_id: str,
        *,
        content: PromptContent | None = None,
        labels: Mapping[str, str] | None = None,
        approval: ApprovalPolicy | None = None,
        label_protection: LabelProtection | None = None,
        write: Write,
    ) -> Prompt:
        """Return the changed prompt; None leaves something as it is.

        Content that differs in something that counts becomes the next version; the same content changes nothing.

        Raises:
            PromptNotFound: the project has no such prompt.
            PromptRefused: a template or the schema cannot be used.
            InvalidInput: the policy or the labels are out of bounds.
            ApprovalPolicyLowered: only an admin may do that.
            Conflict: it has changed since the etag.

        """
        if labels is not None:
            check_labels("prompt.labels", labels)
        if label_protection is not None:
            refuse(label_protection.violations("prompt.label_protection"))
        checked = await self.templates.check(caller.project, content) if content else None
        now = self.clock.now()

        def change(prompt: Prompt) -> None:
            if checked:
                prompt.write(checked.content, digest=checked.digest, now=now, creator=caller.proven_subject)
            if approval is not None:
                prompt.change_approval(approval, caller=caller)
            if label_protection is not None:
                prompt.check_protection(label_protection, caller=caller)
                prompt.label_protection = label_protection
            if labels is not None:
                prompt.labels = dict(labels)

        return await update(self.prompts, caller.project, prompt_id, change, write)

    async def label(self, caller: Caller, prompt_id: str, label: str, *, version: int, write: Write) -> Prompt:
        """Return the prompt with a label that points to a version; one that points there already changes nothing.

        Raises:
            InvalidInput: the label is no slug, or a number.
            PromptNotFound: the project has no such prompt.
            PromptVersionNotFound: the prompt has no such version.
            ApprovalMissing: the label is protected, and people still have to agree to the version.

        """
        check_slug("label", label)
        if label.isdecimal():
            raise InvalidInput.at(field="label", text=f"is {label!r}, which reads as a version number: use a word")

        now = self.clock.now()

        def change(prompt: Prompt) -> None:
            prompt.label(label, version=version, now=now, mover=caller.proven_subject)

        return await update(self.prompts, caller.project, prompt_id, change, write)

    async def approve(self, caller: Caller, prompt_id: str, *, version: int, rationale: str, write: Write) -> Prompt:
        """Return the prompt with the caller's approval of a version; a second one changes nothing.

        Raises:
            InvalidInput: the rationale is too long.
            PromptNotFound: the project has no such prompt.
            PromptVersionNotFound: the prompt has no such version.
            ApproverNotAllowed: the caller lacks the policy's role, is no person, or made the version.

        """
        given = approval_of(caller, rationale=rationale, now=self.clock.now())

        def change(prompt: Prompt) -> None:
            prompt.approve(version, given, caller=caller)

        return await update(self.prompts, caller.project, prompt_id, change, write)

    async def delete(self, caller: Caller, prompt_id: str, write: Write) -> Prompt:
        """Return the prompt as it was.

        Raises:
            PromptNotFound: the project has no such prompt.
            PromptInUse: names the deployments.
            ApprovalPolicyLowered: it has a policy, which made anew it would be without, and the caller is no admin.
            Conflict: it has changed since the etag.

        """
        own = "/" not in prompt_id  # one that another project shares may be in use, too
        users = await self._users(caller.project, prompt_id) if own else []

        def check(prompt: Prompt) -> None:
            if users:
                raise PromptInUse(prompt_id, deployments=users)
            prompt.approval.check_change(caller, _NO_POLICY)
            prompt.check_protection(NO_PROTECTION, caller=caller)

        return await delete(self.prompts, caller.project, prompt_id, write, change=check)

    async def _users(self, project: str, prompt_id: str) -> list[str]:
        deployments = list_all(self.deployments, project)
        names = (prompt_id, f"{project}/{prompt_id}")
        return [each.id async for each in deployments if Reference.of_prompt(each.live.prompt).name in names]
