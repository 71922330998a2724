"""Read recorded answers: what rests on documents that the caller may not read is left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidemill_core.application import Caller, Page, PageRequest
from tidemill_core.rights import ACT_FOR_USERS, has_right, principals
from tidemill_inference.errors import AnswerRestricted
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.ports import DocumentReaders, DocumentVersion, Inferences


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadInferences:
    """Shows all of an answer to who asked, and to who acts for users: they may ask it with any principals.

    Others see question and answer if they may read, now, each document version that the answer was given. Messages
    before the question may rest on other documents, and are not shown to them.
    """

    inferences: Inferences
    readers: DocumentReaders

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

    async def list(self, caller: Caller, *, page: PageRequest, deployment: str = "") -> Page[Inference]:
        """Return a page of inferences, without what is not for the caller.

        Raises:
            DependencyUnavailable: as `get`.

        """
        where = {"deployment": deployment} if deployment else None
        found = await self.inferences.list(caller.project, page=page, where=where)
        return Page(items=await self._shown(caller, found.items), next_token=found.next_token)

    async def _shown(self, caller: Caller, found: Sequence[Inference]) -> Sequence[Inference]:
        if has_right(caller, ACT_FOR_USERS):
            return found
        names = principals(caller)
        of_others = [each for each in found if each.end_user != caller.subject]
        restricted = await self._restricted(caller, of_others, names)
        hidden = {each.id for each in of_others if not restricted.isdisjoint(_versions(each))}
        shown = {
            each.id: each.without_content() if each.id in hidden else each.without_earlier_messages()
            for each in of_others
        }
        return [shown.get(each.id, each) for each in found]

    async def _restricted(
        self, caller: Caller, found: Iterable[Inference], names: Sequence[str]
    ) -> frozenset[DocumentVersion]:
        versions = sorted({version for each in found for version in _versions(each)})
        return await self.readers.restricted(caller, versions, principals=names) if versions else frozenset()


def _versions(inference: Inference) -> Iterable[DocumentVersion]:
    return [(each.document, each.version) for each in inference.passages]
