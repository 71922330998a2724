"""Cases that a deployment generates: questions with references of passages, and others ways to ask a suite's cases."""

import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tidemill.content.v1.content_pb2 import Passage
from tidemill.evaluator.v1.suite_pb2 import Case, Judgement, RestsOn, Suite
from tidemill.evaluator.v1.suite_proposal_pb2 import (
    CANDIDATE_FLAW_FORM,
    CANDIDATE_FLAW_UNSUPPORTED,
    CandidateFlaw,
    ProposedCase,
)
from tidemill.inference.v1.deployment_pb2 import RECORD_MODE_METADATA
from tidemill.inference.v1.inference_pb2 import PURPOSE_EVALUATION
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, OutputFormat
from tidemill.ingest.v1.document_pb2 import Document
from tidemill_client.concurrency import concurrently
from tidemill_client.connection import Connection
from tidemill_client.sampled_passages import SampledPassages
from tidemill_client.values import text_of, user
from tidemill_core.words import words_of

T = TypeVar("T")
VARIANT_OF = "tidemill.dev/variant_of"
"""The label of a case that asks what another one asks: the id of that one. Both are one observation."""
LANGUAGE = "language"
NO_PASSAGE, NO_JSON = "no passage", "not a question with its answer"
_ASK = (
    "Write one question whose answer is in the text below, as a person would ask it who does not know the text and "
    "does not use its words, and its answer: short, complete, and from the text alone. Use the language of the text "
    'and do not mention it. Reply with JSON: {"question": "...", "answer": "..."}\n\n'
)
_REWORD = (
    "Write the question below as another person would ask it who needs to know the same, in the same language. Keep "
    "names and numbers, add nothing. Reply with the question alone.\n\n"
)
_ANSWER = (
    "Answer the question by the text alone, in as few words as possible. Reply with NONE if the text does not answer "
    "it.\n\nQuestion: {question}\n\nText:\n{text}"
)
_TEXT = {"type": "string"}
_SCHEMA = {"type": "object", "properties": {"question": _TEXT, "answer": _TEXT}, "required": ["question", "answer"]}
_MAX_CONCURRENT = 4
_AGREEING = 0.5
"""Share of the reference's words that an answer to the question has to have."""


@dataclass(kw_only=True)
class GeneratedCases:
    """Candidates, some with the flaw that was found; `dropped` are what was no question at all, by reason."""

    candidates: list[ProposedCase] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def usable(self) -> int:
        """How many candidates have no flaw so far."""
        return sum(not each.flaw for each in self.candidates)

    def at_most(self, count: int) -> list[ProposedCase]:
        """Return so many candidates, those without a flaw first."""
        return sorted(self.candidates, key=lambda each: bool(each.flaw))[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseGeneration:
    """Asks a deployment, whose prompt should be the question alone; records keep no text.

    `checked_by` is a deployment that answers each question by its passage: one whose answer does not agree with the
    reference is refused (round trip, after Alberti et al., Synthetic QA Corpora Generation with Roundtrip Consistency,
    2019).
    """

    connection: Connection
    deployment: str
    checked_by: str = ""

    async def of_documents(
        self, collection: str, count: int, *, seed: int = 0, watch: Callable[[GeneratedCases], None] = lambda _: None
    ) -> GeneratedCases:
        """Return candidates of different documents of a collection, until `count` of them have no flaw.

        Raises:
            InvalidInput: the sources of the collection have no documents.

        """
        passages = SampledPassages(self.connection, collection)

        async def ask(document: Document) -> ProposedCase | str:
            passage = await passages.of(document)
            return NO_PASSAGE if passage is None else await self._of_passage(document, passage)

        return await _generated(await passages.documents(seed=seed), ask, count, watch)

    async def of_cases(
        self, suite: Suite, count: int, *, label: str = "", watch: Callable[[GeneratedCases], None] = lambda _: None
    ) -> GeneratedCases:
        """Return other ways to ask a suite's cases, each with the reference and all else of the case.

        Those of small slices by `label` come first. Cases of live traffic are left out: what is written of them would
        be erased with no one.
        """
        usable = [each for each in suite.cases if not (each.end_user or each.corrected_by or VARIANT_OF in each.labels)]
        sizes = Counter(each.labels.get(label, "") for each in usable)
        ordered = sorted(usable, key=lambda each: (sizes[each.labels.get(label, "")], _place(each.id)))
        return await _generated(ordered, self._reworded, count, watch)

    async def _of_passage(self, document: Document, passage: Passage) -> ProposedCase | str:
        said = await self._asked(self.deployment, _ASK + passage.text, structured=True)
        found = _question_of(said)
        if found is None:
            return NO_JSON
        question, reference = found
        version = document.current
        case = Case(
            id=_id(document.id, question),
            question=question,
            reference=reference,
            labels={LANGUAGE: version.language} if version.language else {},
            principals=version.readers[:1],
            judgements=[Judgement(document=document.id, grade=1)],
            rests_on=[RestsOn(document=document.id, version=passage.version)],
        )
        candidate = ProposedCase(case=case, passage=passage.text)
        if self.checked_by and not await self._agrees(question, reference, passage.text):
            return _refused(
                candidate, CANDIDATE_FLAW_UNSUPPORTED, f"{self.checked_by} answers otherwise by its passage"
            )
        return candidate

    async def _agrees(self, question: str, reference: str, passage: str) -> bool:
        answer = set(words_of(await self._asked(self.checked_by, _ANSWER.format(question=question, text=passage))))
        expected = words_of(reference)
        return sum(word in answer for word in expected) >= _AGREEING * len(expected)

    async def _reworded(self, seed: Case) -> ProposedCase | str:
        question = (await self._asked(self.deployment, _REWORD + seed.question)).strip().strip('"')
        case = Case()
        case.CopyFrom(seed)
        case.id, case.question = _id(seed.id, question), question
        case.labels[VARIANT_OF] = seed.id
        candidate = ProposedCase(case=case)
        if not question or "\n" in question:
            return NO_JSON
        if _numbers(question) != _numbers(seed.question):
            return _refused(candidate, CANDIDATE_FLAW_FORM, "question: has other numbers than the case it was made of")
        return candidate

    async def _asked(self, deployment: str, text: str, *, structured: bool = False) -> str:
        request = GenerateRequest(
            request_id=str(uuid.uuid4()),
            deployment=deployment,
            messages=[user(text)],
            purpose=PURPOSE_EVALUATION,
            record_mode=RECORD_MODE_METADATA,
            output_format=OutputFormat(schema_json=json.dumps(_SCHEMA), name="case") if structured else None,
        )
        return text_of((await self.connection.inferences.Generate(request)).inference)


async def _generated(
    sources: Sequence[T],
    work: Callable[[T], Awaitable[ProposedCase | str]],
    count: int,
    watch: Callable[[GeneratedCases], None],
) -> GeneratedCases:
    generated, known = GeneratedCases(), set[str]()

    async def offered() -> AsyncIterator[T]:
        for each in sources:
            if generated.usable >= count:
                return
            yield each

    async with aclosing(concurrently(offered(), work, max_concurrent=_MAX_CONCURRENT)) as found:
        async for outcome in found:
            if isinstance(outcome, str):
                generated.dropped[outcome] += 1
            elif outcome.case.id not in known and (outcome.flaw or generated.usable < count):
                known.add(outcome.case.id)
                generated.candidates.append(outcome)
            watch(generated)
    return generated


def _question_of(said: str) -> tuple[str, str] | None:
    """Return question and answer; a model without guided output may put its JSON between other words."""
    begin, end = said.find("{"), said.rfind("}")
    try:
        values: Any = json.loads(said[begin : end + 1])
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    texts = [values.get(name) for name in ("question", "answer")]
    question, answer = (each.strip() if isinstance(each, str) else "" for each in texts)
    return (question, answer) if question and answer else None


def _refused(candidate: ProposedCase, flaw: CandidateFlaw.ValueType, why: str) -> ProposedCase:
    candidate.flaw, candidate.why = flaw, why
    return candidate


def _id(source: str, question: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{source}\n{question}"))


def _place(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d+", text))
