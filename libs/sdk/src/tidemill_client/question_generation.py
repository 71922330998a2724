"""Questions that a deployment generates from the passages of a collection, kept where they can be judged by."""

import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field

from tidemill.inference.v1.inference_pb2 import Purpose
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest
from tidemill.ingest.v1.document_pb2 import Document
from tidemill.rag.v1.collection_pb2 import SearchSettings
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill_client.concurrency import concurrently
from tidemill_client.connection import Connection
from tidemill_client.judged_questions import JudgedQuestion
from tidemill_client.sampled_passages import SampledPassages
from tidemill_client.values import text_of, user

INSTRUCTION = (
    "Write one question whose answer is in the text below, as someone would ask it who does not know the text and does "
    "not use its words. Ask in the language of the text, do not mention it, and reply with the question alone.\n\n"
)
_FOUND_WITHIN = 20
_MAX_CONCURRENT = 4
_LENGTHS = range(10, 301)
_COPIED_WORDS = 8
_QUESTION_MARKS = ("?", "\uff1f", "\u061f")
_WAYS = (SearchSettings(), SearchSettings(sparse_weight=0.0), SearchSettings(dense_weight=0.0, sparse_weight=1.0))
"""What is found by any of them is kept: to ask for the present settings alone would favour these."""

NO_PASSAGE = "no passage"
NO_QUESTION = "not one question"
COPIED = "copied from the passage"
REPEATED = "a repeat"
NOT_FOUND = "its document is not found"


@dataclass(kw_only=True)
class Generated:
    """What was kept, and how many were dropped for which reason."""

    questions: list[JudgedQuestion] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def reasons(self) -> Mapping[str, int]:
        """The reasons, most frequent first."""
        return dict(self.dropped.most_common())


class QuestionGeneration:
    """Generates judged questions for a collection.

    A question is kept if it is one, is not copied from its passage and no repeat, and if its document is found by it
    (round trip, after Alberti et al., Synthetic QA Corpora Generation with Roundtrip Consistency, 2019): among the
    first passages by vectors, by terms or by both. What no way finds would be a gain for none, though it may be fair.
    """

    def __init__(self, connection: Connection, collection: str, deployment: str) -> None:
        self._connection, self._name, self._deployment = connection, collection, deployment
        self._passages = SampledPassages(connection, collection)

    async def __call__(
        self, count: int, *, seed: int = 0, watch: Callable[[Generated], None] = lambda _generated: None
    ) -> Generated:
        """Return up to `count` questions of different documents, in an order that the seed decides.

        Raises:
            InvalidInput: the sources of the collection have no documents.

        """
        documents = await self._passages.documents(seed=seed)
        generated, known = Generated(), set[str]()

        async def offered() -> AsyncIterator[Document]:
            for document in documents:
                if len(generated.questions) >= count:
                    return
                yield document

        async with aclosing(concurrently(offered(), self._ask, max_concurrent=_MAX_CONCURRENT)) as found:
            async for outcome in found:
                if isinstance(outcome, str):
                    generated.dropped[outcome] += 1
                elif (folded := " ".join(outcome.text.casefold().split())) in known:
                    generated.dropped[REPEATED] += 1
                elif len(generated.questions) < count:
                    known.add(folded)
                    generated.questions.append(outcome)
                watch(generated)
        return generated

    async def _ask(self, document: Document) -> JudgedQuestion | str:
        """Return the question of a document, or why there is none."""
        passage = await self._passages.of(document)
        if passage is None:
            return NO_PASSAGE
        request = GenerateRequest(
            request_id=str(uuid.uuid4()),
            deployment=self._deployment,
            messages=[user(INSTRUCTION + passage.text)],
            purpose=Purpose.PURPOSE_EVALUATION,
            passages=[passage],
        )
        text = text_of((await self._connection.inferences.Generate(request)).inference).strip().strip('"')
        if flaw := _flaw(text, passage.text):
            return flaw
        if not await self._finds(text, document.id):
            return NOT_FOUND
        return JudgedQuestion(id=document.id, text=text, grades={document.id: 1})

    async def _finds(self, text: str, document: str) -> bool:
        for settings in _WAYS:
            request = SearchRequest(collection=self._name, query=text, top_k=_FOUND_WITHIN, settings=settings)
            passages = (await self._connection.retrieval.Search(request)).passages
            if any(each.document == document for each in passages):
                return True
        return False


def _flaw(text: str, passage: str) -> str:
    """Return why a text is no question to judge by, "" if it is one."""
    if len(text) not in _LENGTHS or "\n" in text or not text.endswith(_QUESTION_MARKS):
        return NO_QUESTION
    return COPIED if _runs(text) & _runs(passage) else ""


def _runs(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.casefold())
    return {tuple(words[start : start + _COPIED_WORDS]) for start in range(len(words) - _COPIED_WORDS + 1)}
