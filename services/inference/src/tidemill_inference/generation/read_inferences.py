"""Read recorded answers: what rests on documents that the caller may not read is left out."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.resources import ResolveShared, nothing_shared, owner_of
from tidemill_core.rights import ACT_FOR_USERS, has_right, principals
from tidemill_inference.background import background
from tidemill_inference.generation.domain.copies import without_content, without_earlier_messages, without_names_of
from tidemill_inference.generation.domain.errors import AnswerRestricted, InferenceNotFound, ResponseNotFound
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.speaker import owned
from tidemill_inference.generation.ports import DocumentReaders, DocumentVersion, Inferences


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadInferences:
    """Shows all of an answer to who asked, and to who acts for users: they may ask it with any principals.

    Others see question and answer if they may read, now, each document version that the answer was given. Messages
    before the question may rest on other documents, and are not shown to them.

    Passages of collections of other projects are not named once a search would not find them: they are shared no
    more, or have readers now.
    """

    inferences: Inferences
    readers: DocumentReaders
    shared: ResolveShared = nothing_shared
    """Finds collections."""

    async def get(self, caller: Caller, inference_id: str) -> Inference:
        """Return one inference, without what is not for the caller.

        Raises:
            InferenceNotFound: the project has no such inference.
            DependencyUnavailable: ingest, which knows the readers, does not answer.

        """
        (shown,) = await self._shown(caller, [await self.inferences.get(caller.project, inference_id)])
        return shown

    async def whole(self, caller: Caller, inference_id: str) -> Inference:
        """Return one inference of which nothing had to be left out.

        Raises:
            AnswerRestricted: something had.
            InferenceNotFound, DependencyUnavailable: as `get`.

        """
        shown = await self.get(caller, inference_id)
        if shown.restricted:
            raise AnswerRestricted(inference_id)
        return shown

    async def response(self, caller: Caller, inference_id: str) -> Inference:
        """Return one of the caller's answers that can be shown again.

        Raises:
            ResponseNotFound: the caller has none with this id.

        """
        try:
            found = await self.inferences.get(caller.project, inference_id)
        except InferenceNotFound as error:
            raise ResponseNotFound(inference_id) from error
        if found.parameters is None or not owned(caller, found.end_user):
            raise ResponseNotFound(inference_id)
        return without_names_of(found, await self._unshared(caller.project, [found]))

    async def list(self, caller: Caller, *, page: PageRequest, deployment: str = "") -> Page[Inference]:
        """Return a page of inferences, without what is not for the caller.

        Raises:
            DependencyUnavailable: as `get`.

        """
        where = {"deployment": deployment} if deployment else None
        found = await self.inferences.list(caller.project, page=page, where=where)
        return Page(items=await self._shown(caller, found.items), next_token=found.next_token)

    async def _shown(self, caller: Caller, found: Sequence[Inference]) -> Sequence[Inference]:
        unshared = await self._unshared(caller.project, found)
        found = [without_names_of(each, unshared) for each in found]
        if has_right(caller, ACT_FOR_USERS):
            return found
        names = principals(caller)
        of_others = [each for each in found if each.end_user != caller.subject]
        restricted = unshared | await self._restricted(caller, of_others, names)
        hidden = {each.id for each in of_others if not restricted.isdisjoint(_versions(each))}
        shown = {
            each.id: without_content(each) if each.id in hidden else without_earlier_messages(each)
            for each in of_others
        }
        return [shown.get(each.id, each) for each in found]

    async def _restricted(
        self, caller: Caller, found: Iterable[Inference], names: Sequence[str]
    ) -> frozenset[DocumentVersion]:
        versions = sorted({version for each in found for version in _versions(each, of_project=True)})
        return await self.readers.restricted(caller, versions, principals=names) if versions else frozenset()

    async def _unshared(self, project: str, found: Iterable[Inference]) -> frozenset[DocumentVersion]:
        """Return the versions of other projects that a search of this one would not find now."""
        unshared, by_owner = set[DocumentVersion](), defaultdict[str, set[DocumentVersion]](set)
        for passage in (each for inference in found for each in inference.passages if each.collection):
            version = (passage.document, passage.version)
            if self.shared(project, passage.collection) is None:
                unshared.add(version)
            else:
                by_owner[owner_of(passage.collection, project)].add(version)
        for owner, versions in by_owner.items():
            unshared |= await self.readers.restricted(background(owner), sorted(versions), principals=())
        return frozenset(unshared)


def _versions(inference: Inference, *, of_project: bool = False) -> Iterable[DocumentVersion]:
    """Return what an answer rests on; of the project alone, if others need not be asked about."""
    return [(each.document, each.version) for each in inference.passages if not (of_project and each.collection)]
