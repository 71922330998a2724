"""Branches of prompts: fork a version as a prompt of its own, and merge prompts into one another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from tidemill_core.application import Caller, Clock
from tidemill_core.approvals import ApprovalPolicy
from tidemill_core.errors import InvalidInput
from tidemill_core.resources import Write, applied, check_etag, etag_of, name_violations, refuse, update
from tidemill_inference.prompts.crud import PromptCrud
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.domain.labels import LabelProtection
from tidemill_inference.prompts.domain.merging import Merge, inherited
from tidemill_inference.prompts.domain.origins import VersionOrigin
from tidemill_inference.prompts.domain.prompt import Prompt, PromptVersion
from tidemill_inference.prompts.ports import Prompts, ReadPrompts, Templates

_MAX_READ = 20
"""Prompts beside the two of a merge that are read for their versions in common. What is not read is left to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptBranches:
    """A branch is a prompt like any other; the same request again returns what it made, also where a source is gone."""

    prompts: Prompts
    readable: ReadPrompts
    templates: Templates
    crud: PromptCrud
    clock: Clock

    async def fork(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        caller: Caller,
        prompt_id: str,
        *,
        source: str,
        version: int,
        labels: Mapping[str, str],
        approval: ApprovalPolicy,
        label_protection: LabelProtection,
        write: Write,
    ) -> Prompt:
        """Return a new prompt, whose first version has the content of this one of the source; 0 is the newest.

        It has labels, a policy and approvals of its own.

        Raises:
            InvalidInput: an id is none, or the policy or the labels are out of bounds.
            PromptNotFound: the caller's project has no such source, and none is shared with it.
            PromptVersionNotFound: the source has no such version.
            AlreadyExists: the id is taken.

        """
        field = "prompt.forked_from.prompt"
        refuse(name_violations(field, source))
        if not write.validate_only and (made := await applied(self.prompts, caller.project, prompt_id, write.request)):
            return made
        forked, found = await self._read(caller, source, version)
        return await self.crud.create(
            caller,
            prompt_id,
            found.content,
            labels=labels,
            approval=approval,
            label_protection=label_protection,
            inherited=inherited(forked, found, project=caller.project, known={}),
            write=write,
        )

    async def merge(  # noqa: PLR0913 - keyword-only, and each of another kind
        self,
        caller: Caller,
        prompt_id: str,
        *,
        source: str,
        version: int,
        resolutions: Mapping[str, str],
        write: Write,
    ) -> Prompt:
        """Return the prompt with what a version of the source changed; 0 is the newest. Nothing new changes nothing.

        The next version is the caller's. Those who made what came in are contributors: their approvals do not count.

        Raises:
            InvalidInput: an id is none, both are one prompt, or a resolution decides nothing.
            PromptNotFound: the project has no such prompt, or no such source, and none is shared with it.
            PromptVersionNotFound: the source has no such version.
            PromptMergeConflict: names the fields that `resolutions` have to decide.
            PromptRefused: what comes of both cannot be used.
            TooManyPromptVersions: the limit of versions or characters is reached.
            Conflict: it has changed since the etag, or meanwhile.

        """
        refuse(name_violations("source", source))
        if not write.validate_only and (done := await applied(self.prompts, caller.project, prompt_id, write.request)):
            return done
        target = await self.prompts.get(caller.project, prompt_id)
        check_etag(write.etag, target.version)
        merged, found = await self._read(caller, source, version)
        if merged.full_name == target.full_name:
            raise InvalidInput.at(field="source", text=f"is {prompt_id} itself: name another prompt")
        merge = Merge(target=target, source=merged, version=found)
        if merge.brings_nothing:
            return await update(self.prompts, caller.project, prompt_id, lambda _: None, write)
        merge = replace(merge, others=await self._others(caller, merge.bases()))
        checked = await self.templates.check(caller.project, merge.merged(resolutions))
        now, brought = self.clock.now(), merge.inherited()

        def change(stored: Prompt) -> None:
            # It was merged with the versions that were read: others meanwhile are decided on again.
            if stored.latest != replace(target.latest, approvals=stored.latest.approvals):
                check_etag(etag_of(target.version), stored.version)
            creator = caller.proven_subject
            stored.write(checked.content, digest=checked.digest, now=now, creator=creator, inherited=brought)

        return await update(self.prompts, caller.project, prompt_id, change, write)

    async def _read(self, caller: Caller, name: str, version: int) -> tuple[Prompt, PromptVersion]:
        prompt = await self.readable.get(caller.project, name)
        return prompt, prompt.resolve(str(version) if version else "")

    async def _others(self, caller: Caller, bases: Iterable[VersionOrigin]) -> dict[str, Prompt]:
        """Return what the caller's project may read of the prompts that bases are versions of."""
        found = dict[str, Prompt]()
        for each in list(bases)[:_MAX_READ]:
            try:
                found[each.prompt] = await self.readable.get(caller.project, each.prompt)
            except PromptNotFound:
                continue
        return found
