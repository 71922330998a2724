"""Reads and writes cases in exchange buckets: evaluator's suites and ingest's held-out splits."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from google.protobuf.json_format import MessageToDict, MessageToJson, Parse, ParseError
from google.protobuf.message import Message

from tidemill.content.v1 import content_pb2
from tidemill.evaluator.v1 import suite_pb2
from tidemill.feedback.v1 import curation_pb2
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import InvalidInput, NotFound, PermissionDenied
from tidemill_core.resources import ResolveShared, nothing_shared, owner_of
from tidemill_evaluator.errors import CasesErased
from tidemill_evaluator.suites.domain.cases import Case, CaseSet, Context, DocumentVersion, Judgement, Turn, sample_of
from tidemill_evaluator.suites.domain.expectations import Expectation
from tidemill_evaluator.suites.messages import ROLES, case_message, origin_of
from tidemill_evaluator.suites.ports import CaseOrigins
from tidemill_kit.mapping import from_message
from tidemill_kit.store.objects import ExchangeBucket, ObjectMissing

M = TypeVar("M", bound=Message)

MEDIA_TYPE = "application/jsonl"


class CasesUnreadable(InvalidInput):
    """The object does not contain valid cases."""

    reason = "CASES_UNREADABLE"


class CasesNotShared(NotFound):
    """The cases belong to a dataset of another project, which does not share it any more."""

    reason = "CASES_NOT_SHARED"

    def __init__(self, case_set: str) -> None:
        super().__init__(f"{case_set} is not shared with this project any more, or not there", case_set=case_set)


class ExchangeCases:
    """Implements `ports.Cases`. Size and sha256 of every object are verified, and a thread parses it.

    Of another project's dataset it is read as long as that shares it.
    """

    def __init__(
        self,
        own: ExchangeBucket,
        *,
        of_datasets: Mapping[str, ExchangeBucket],
        origins: CaseOrigins,
        shared: ResolveShared = nothing_shared,
    ) -> None:
        self._own = own
        self._origins = origins
        self._of_datasets = of_datasets
        self._shared = shared

    async def put(self, project: str, suite: str, cases: Sequence[Case]) -> ObjectRef:
        """See `Cases.put`."""
        data = await asyncio.to_thread(_lines, cases)
        await self._origins.keep(project, suite, await self._own.ref_of(project, suite, data), cases)
        return await self._own.put(project, suite, data, media_type=MEDIA_TYPE)

    async def remove(self, content: ObjectRef) -> None:
        """See `Cases.remove`."""
        await self._own.remove(content)

    async def read(self, project: str, case_set: CaseSet) -> Sequence[Case]:
        """See `Cases.read`."""
        content, owner = case_set.content, project
        if case_set.dataset:
            if self._shared(project, case_set.dataset) is None:
                raise CasesNotShared(case_set.name)
            owner = owner_of(case_set.dataset, project)
        if not content.key.startswith(f"{owner}/"):
            message = f"{case_set.name} refers to an object outside its project"
            raise PermissionDenied(message, case_set=case_set.name)
        try:
            data = await self._bucket(case_set).get(content)
        except ObjectMissing as error:
            raise CasesErased(case_set.name) from error
        cases = await asyncio.to_thread(_cases, data, case_set, owner="" if owner == project else owner)
        expected = case_set.whole or case_set.size
        if len(cases) != expected or len({case.id for case in cases}) != len(cases):
            message = f"the object of {case_set.name} does not contain {expected} distinct cases"
            raise CasesUnreadable(message, case_set=case_set.name)
        return sample_of(cases, case_set.size)

    def _bucket(self, case_set: CaseSet) -> ExchangeBucket:
        if case_set.suite:
            return self._own
        bucket = self._of_datasets.get(case_set.content.bucket)
        if bucket is None:
            name = case_set.content.bucket
            message = f"{case_set.name} is in bucket {name}, which is not in EVALUATOR_DATASET_BUCKETS"
            raise PermissionDenied(message, bucket=name)
        return bucket


def _lines(cases: Sequence[Case]) -> bytes:
    lines = [
        MessageToJson(case_message(case), indent=None, preserving_proto_field_name=True, sort_keys=True)
        for case in cases
    ]
    return "\n".join([*lines, ""]).encode()


def _cases(data: bytes, case_set: CaseSet, *, owner: str) -> list[Case]:
    return [_case(line, case_set, owner=owner) for line in data.split(b"\n") if line.strip()]


def _case(line: bytes, case_set: CaseSet, *, owner: str) -> Case:
    if case_set.suite:
        case = _parsed(line, suite_pb2.Case(), case_set)
        context = _context(case, case.earlier, case_set)
        return Case(
            id=case.id,
            question=case.question,
            reference=case.reference,
            judgements=tuple(Judgement(document=each.document, grade=each.grade) for each in case.judgements),
            unanswerable=case.unanswerable,
            expect=from_message(Expectation, case.expect) if case.HasField("expect") else None,
            labels=dict(case.labels),
            schema=MessageToDict(case.schema) if case.HasField("schema") else None,
            code_tests=case.code_tests,
            context=context,
            **origin_of(case),
        )
    example = _parsed(line, curation_pb2.Example(), case_set)
    context = _context(example, example.earlier or _turns_of_prompt(example), case_set)
    return Case(
        id=example.id,
        question=example.question,
        reference=_text(example.output),
        context=context,
        end_user=example.asked_by or example.end_user,
        corrected_by=example.end_user if example.asked_by else "",
        owner=owner,
        labels={"cohort": example.cohort} if example.cohort else {},
        rests_on=tuple(DocumentVersion(each.document, each.version, each.collection) for each in example.passages),
    )


def _context(
    message: suite_pb2.Case | curation_pb2.Example, earlier: Iterable[content_pb2.Message], case_set: CaseSet
) -> Context:
    turns = list[Turn]()
    for each in earlier:
        role = ROLES.get(each.role)
        if role is None:
            text = f"the object of {case_set.name} has a turn of {each.role}, which is not supported"
            raise CasesUnreadable(text, case_set=case_set.name)
        turns.append(Turn(role, _text(each)))
    return Context(
        earlier=tuple(turns),
        variables=MessageToDict(message.variables),
        principals=tuple(message.principals),
    )


def _turns_of_prompt(example: curation_pb2.Example) -> list[content_pb2.Message]:
    """Return the earlier turns from an example's prompt, for examples without a context field.

    System messages are skipped: they belong to the prompt template, which is rendered again.
    """
    return [each for each in example.messages[:-1] if each.role != content_pb2.ROLE_SYSTEM]


def _text(message: content_pb2.Message) -> str:
    return "".join(part.text for part in message.parts)


def _parsed(line: bytes, empty: M, case_set: CaseSet) -> M:
    try:
        return Parse(line, empty, ignore_unknown_fields=True)
    except ParseError as error:
        message = f"the object of {case_set.name} has a line that is not a valid case"
        raise CasesUnreadable(message, case_set=case_set.name) from error
