"""Prompt tests: the same cases answered by several prompts, models and sampling, and compared."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.content.v1.content_pb2 import ROLE_USER, Message, Part
from tidemill.evaluator.v1.prompt_test_pb2 import (
    PromptQuestion,
    PromptResult,
    PromptTest,
    PromptText,
    PromptVariant,
    VariantSampling,
)
from tidemill.evaluator.v1.prompt_test_service_pb2 import (
    CancelPromptTestRequest,
    GetPromptTestRequest,
    ListPromptResultsRequest,
    ListPromptTestsRequest,
    StartPromptTestRequest,
)
from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill.inference.v1.inference_pb2 import PURPOSE_EVALUATION, Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, GenerateStreamRequest
from tidemill.inference.v1.prompt_pb2 import PromptContent
from tidemill_client.connection import Connection
from tidemill_client.evaluations import ENDED, PATIENCE_S
from tidemill_client.pages import each, filter_of
from tidemill_client.values import Json, struct_of
from tidemill_client.waiting import poll


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsaved:
    """A prompt that is saved nowhere but with its test: two Jinja templates, and the JSON Schema of its variables."""

    user: str
    system: str = ""
    variables_schema: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A deployment as it is live, with what is named here in place of its own: `prompt@version`, `model@version`.

    `sampling` has `temperature`, `top_p`, `max_output_tokens` and `seed`.
    """

    deployment: str
    name: str = ""
    prompt: str = ""
    unsaved: Unsaved | None = None
    model: str = ""
    sampling: Mapping[str, float] = field(default_factory=dict)

    @property
    def message(self) -> PromptVariant:
        """Return its message."""
        unsaved = self.unsaved
        return PromptVariant(
            name=self.name,
            deployment=self.deployment,
            prompt=self.prompt,
            unsaved=PromptText(user=unsaved.user, system=unsaved.system, variables_schema=unsaved.variables_schema)
            if unsaved
            else None,
            model=self.model,
            sampling=VariantSampling(**dict(self.sampling)) if self.sampling else None,  # type: ignore[arg-type]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedQuestion:
    """A question in place of a suite's case; without a reference it is scored by what needs none."""

    question: str
    reference: str = ""
    variables: Mapping[str, Json] = field(default_factory=dict)

    @property
    def message(self) -> PromptQuestion:
        """Return its message."""
        variables = struct_of(self.variables) if self.variables else None
        return PromptQuestion(question=self.question, reference=self.reference, variables=variables)


class PromptTests:
    """The prompt tests of a project."""

    def __init__(self, connection: Connection) -> None:
        self._stub = connection.prompt_tests
        self._inferences = connection.inferences

    async def start(  # noqa: PLR0913 - what is asked, of which each part has a default
        self,
        variants: Sequence[Variant],
        *,
        suite: str = "",
        questions: Sequence[TriedQuestion] = (),
        max_cases: int = 0,
        cases: Sequence[str] = (),
        metrics: Sequence[str] = (),
        request_id: str = "",
    ) -> PromptTest:
        """Ask a suite's cases (all, a sample, or those with these ids), or these questions, of all variants.

        The first variant is what the others are compared with.
        """
        request = StartPromptTestRequest(
            suite=suite,
            questions=[each.message for each in questions],
            max_cases=max_cases,
            cases=cases,
            variants=[each.message for each in variants],
            metrics=metrics,
            request_id=request_id,
        )
        return (await self._stub.StartPromptTest(request)).test

    async def get(self, test: str) -> PromptTest:
        """Return a test with its figures."""
        return (await self._stub.GetPromptTest(GetPromptTestRequest(id=test))).test

    def all(self, *, suite: str = "") -> AsyncIterator[PromptTest]:
        """Yield the tests, oldest first, without the texts that are stored with them."""
        request = ListPromptTestsRequest(filter=filter_of(suite=suite))
        return each(self._stub.ListPromptTests, request, lambda page: page.tests)

    def results(self, test: str, *, metric: str = "") -> AsyncIterator[PromptResult]:
        """Yield the answers of all variants to each case, those with the lowest values first."""
        request = ListPromptResultsRequest(test=test, metric=metric)
        return each(self._stub.ListPromptResults, request, lambda page: page.results)

    async def cancel(self, test: str) -> PromptTest:
        """Cancel a test."""
        return (await self._stub.CancelPromptTest(CancelPromptTestRequest(id=test))).test

    async def wait(
        self,
        test: str,
        *,
        within_s: float = PATIENCE_S,
        watch: Callable[[PromptTest], None] = lambda _test: None,
    ) -> PromptTest:
        """Wait until a test is in a terminal state, and return it.

        Raises:
            DeadlineExceeded: `within_s` has passed; the test continues.

        """
        return await poll(
            lambda: self.get(test),
            lambda found: found.state in ENDED,
            what=f"prompt test {test}",
            within_s=within_s,
            watch=watch,
        )

    async def ask(
        self,
        variant: Variant,
        question: TriedQuestion,
        *,
        watch: Callable[[str], None] = lambda _text: None,
    ) -> Inference:
        """Ask one variant one question, without a test; `watch` is called with each piece of the answer."""
        unsaved = variant.unsaved
        request = GenerateRequest(
            deployment=variant.deployment,
            messages=[Message(role=ROLE_USER, parts=[Part(text=question.question)])],
            variables=question.message.variables if question.variables else None,
            purpose=PURPOSE_EVALUATION,
            variant=variant.model,
            prompt=variant.prompt,
            unsaved_prompt=PromptContent(
                user=unsaved.user, system=unsaved.system, variables_schema=unsaved.variables_schema
            )
            if unsaved
            else None,
            sampling=Sampling(**dict(variant.sampling)) if variant.sampling else None,  # type: ignore[arg-type]
        )
        finished = Inference()
        async for step in self._inferences.GenerateStream(GenerateStreamRequest(request=request)):
            if step.HasField("delta"):
                watch(step.delta.text)
            elif step.HasField("finished"):
                finished = step.finished
        return finished
