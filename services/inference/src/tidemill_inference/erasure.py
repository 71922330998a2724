"""What is erased of a deleted project and of an end user, and what each process forgets of deleted projects."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

import structlog

from tidemill_core.application import Request
from tidemill_core.errors import TidemillError, isolated
from tidemill_inference.background import background
from tidemill_inference.conversations.crud import EraseConversations
from tidemill_inference.engines.wiring import EngineParts
from tidemill_inference.generation.erase_end_user import EraseEndUser
from tidemill_inference.generation.mongo import MongoRecords
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.folders import folders, sweep_folders
from tidemill_kit.erasure.steps import Scope, Step, Steps, Target
from tidemill_kit.service.app import Worker
from tidemill_kit.service.backend import Backend

_FORGET_EVERY_S = 5.0
_RECHECK_EVERY_S = 60.0
_BATCH_SIZE = 200

_log = structlog.get_logger()


class InMemory(Protocol):
    """What this process has in memory of projects."""

    @property
    def projects(self) -> set[str]:
        """Those of which it has something."""
        ...

    async def forget(self, project: str) -> int:
        """Let everything of a project go; return how much that was.

        Raises:
            NotYet: some of it is in use.

        """
        ...


class Erasing(Protocol):
    """A feature with steps of its own."""

    @property
    def of_projects(self) -> Sequence[Step]:
        """Those of a deleted project; what runs ends first."""
        ...

    @property
    def of_end_users(self) -> Sequence[Step]:
        """Those of an end user."""
        ...


def steps(  # noqa: PLR0913 - keyword-only, and each of another kind
    settings: InferenceSettings,
    backend: Backend,
    *,
    memory: Sequence[InMemory],
    erase_end_user: EraseEndUser,
    conversations: EraseConversations,
    features: Sequence[Erasing] = (),
    of_documents: Sequence[Step] = (),
) -> Steps:
    """Return what is erased; answers in progress end first, so that nothing is written behind the others."""

    async def forget(target: Target) -> int:
        return sum([await each.forget(target.project) for each in memory])

    inferences = erase_end_user.inferences

    async def answers_of(target: Target) -> int:
        return (await erase_end_user(background(target.project), target.subject)).records

    async def conversations_of(target: Target) -> int:
        return await conversations.of_end_user(target.project, target.subject)

    async def names_of(target: Target) -> int:
        found = await records.naming(target.project, target.subject, limit=_BATCH_SIZE)
        for each in found:
            await inferences.update(
                target.project, each, lambda record: record.forget_names_of(target.subject), request=Request.internal()
            )
        return len(found)

    database = backend.database
    records = MongoRecords(database["deployments"], database["inferences"])
    return {
        Scope.PROJECT: [
            *(step for each in features for step in each.of_projects),
            Step(kind="running answers and loaded models", erase=forget),
            documents("answers", database["inferences"]),
            documents("cached answers", database["cached_answers"]),
            documents("savings of caches", database["cache_savings"]),
            documents("conversations", database["conversations"]),
            documents("memories", database["memories"]),
            documents("deployments", database["deployments"]),
            documents("remote models", database["remote_models"]),
            documents("rollout outcomes", database["rollout_outcomes"]),
            documents("prompts", database["prompts"]),
            documents("secrets", database["secrets"]),
            replace(folders("model files", settings.data_dir), covers=("folder:data_dir",)),
        ],
        Scope.END_USER: [
            Step(kind="conversations and memories", erase=conversations_of),
            Step(kind="answers", erase=answers_of),
            *(step for each in features for step in each.of_end_users),
        ],
        Scope.DOCUMENT: [
            Step(kind="names in answers", erase=names_of),
            Step(kind="summaries and memories", erase=lambda of: conversations.of_document(of.project, of.subject)),
            *of_documents,
        ],
    }


def wire_erasure(
    settings: InferenceSettings, backend: Backend, engines: EngineParts, *, memory: Sequence[InMemory]
) -> list[Worker]:
    """Return the workers that forget what is deleted in this process, and on its machine."""
    access, holds = backend.access, backend.holds
    deleted, folder = access.revocations.deleted, [settings.data_dir]
    return [
        Worker("deleted-secrets", lambda: _recheck(engines.remote.recheck)),
        Worker("deleted-projects", lambda: forget_deleted(memory, deleted=deleted)),
        Worker("deleted-folders", lambda: sweep_folders(folder, deleted=deleted, spares=holds.spares)),
    ]


async def forget_deleted(
    memory: Sequence[InMemory], *, deleted: Callable[[str], bool], every_s: float = _FORGET_EVERY_S
) -> None:
    """Forget deleted projects, until cancelled: the steps of an erasure reach one process only."""
    while True:
        for part in memory:
            for project in [each for each in part.projects if deleted(each)]:
                try:
                    with isolated():
                        await part.forget(project)
                except TidemillError as error:
                    _log.info("deleted_project_not_forgotten", project=project, reason=error.reason)
        await asyncio.sleep(every_s)


async def _recheck(recheck: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(_RECHECK_EVERY_S)
        await recheck()
