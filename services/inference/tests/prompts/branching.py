"""A library whose prompts are forked and merged."""

from dataclasses import replace
from typing import Any

from services.inference.tests.fakes import ADA, writing
from services.inference.tests.prompts.test_crud import MIA, Library
from tidemill_core.application import Caller
from tidemill_core.approvals import ApprovalPolicy
from tidemill_inference.prompts.branches import PromptBranches
from tidemill_inference.prompts.domain.labels import NO_PROTECTION
from tidemill_inference.prompts.domain.prompt import Prompt, PromptContent
from tidemill_inference.prompts.shared import SharedPrompts
from tidemill_kit.access.grants import Grants
from tidemill_kit.access.revocations import Revocations

BASE = PromptContent(user="{{ question }}", system="Be kind.")
SCHEMA = '{"type": "object", "properties": {"tone": {"type": "string"}}}'
GLOBEX = replace(ADA, project="globex", subject="user:gil", credential="jti-gil")


class Branching(Library):
    """A library whose prompts are forked and merged."""

    def __init__(self) -> None:
        super().__init__()
        self.grants = Grants(Revocations())
        self.requests = 0

    @property
    def branches(self) -> PromptBranches:
        crud = self.crud
        readable = SharedPrompts(self.prompts, self.grants)
        return PromptBranches(
            prompts=self.prompts, readable=readable, templates=crud.templates, crud=crud, clock=crud.clock
        )

    async def fork(self, source: str, name: str, *, caller: Caller = MIA, **changed: Any) -> Prompt:  # noqa: ANN401
        given: dict[str, Any] = {
            "version": 0,
            "labels": {},
            "approval": ApprovalPolicy(),
            "label_protection": NO_PROTECTION,
            "write": self._write(),
        }
        return await self.branches.fork(caller, name, source=source, **{**given, **changed})

    async def merge(self, name: str, source: str, *, caller: Caller = MIA, **changed: Any) -> Prompt:  # noqa: ANN401
        given: dict[str, Any] = {"version": 0, "resolutions": {}, "write": self._write()}
        return await self.branches.merge(caller, name, source=source, **{**given, **changed})

    async def set(self, name: str, *, caller: Caller = MIA, **changed: str) -> Prompt:
        """Change fields of the newest content."""
        content = (await self.prompts.get(caller.project, name)).latest.content
        changes = replace(content, **changed)
        return await self.crud.update(caller, name, content=changes, write=self._write())

    def _write(self) -> Any:  # noqa: ANN401
        self.requests += 1
        return writing(f"b{self.requests}")
