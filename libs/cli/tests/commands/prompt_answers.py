"""An evaluator that has run a prompt test, and an inference that answers by any prompt."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from libs.cli.tests.loop.running import Running
from tidemill.content.v1.content_pb2 import ROLE_ASSISTANT, Message, Part
from tidemill.evaluator.v1 import evaluation_pb2 as ev
from tidemill.evaluator.v1 import prompt_test_pb2 as pb
from tidemill.evaluator.v1 import prompt_test_service_pb2 as rpc
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import (
    GenerateRequest,
    GenerateStreamRequest,
    GenerateStreamResponse,
    PartDelta,
)
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent, PromptVersion
from tidemill.inference.v1.prompt_service_pb2 import GetPromptResponse
from tidemill_core.errors import InvalidInput


class PromptAnswers:
    """Every test completes at once: the second variant is better, and the third fails one case."""

    def __init__(self) -> None:
        self.started: list[rpc.StartPromptTestRequest] = []
        self.asked: list[GenerateRequest] = []
        self.state: ev.EvaluationState.ValueType = ev.EVALUATION_STATE_COMPLETED

    def declare(self, running: Running) -> None:
        """Have a platform that has a deployment and its prompt."""
        content = PromptContent(system="Be kind.", user="{{ question }}", variables_schema='{"type": "object"}')
        live = Deployment(id="helpdesk")
        live.live.prompt, live.live.model = "answer@1", "small@1"
        running.keepers["deployment"].stored["helpdesk"] = live
        prompt = Prompt(
            id="answer",
            content=PromptContent(system="Newest.", user="newest"),
            latest_version=3,
            versions=[PromptVersion(number=1, content=content)],
            version_labels={"next": 2},
        )
        running.keepers["prompt"].stored["answer"], running.keepers["prompt"].normalise = prompt, _checked
        running.answers["inference.v1.prompt_service:GetPrompt"] = lambda _: GetPromptResponse(prompt=prompt)

    def answers(self) -> dict[str, Callable[[Any], Any]]:
        """Return what services answer."""
        service = "evaluator.v1.prompt_test_service"
        return {
            f"{service}:StartPromptTest": self._start,
            f"{service}:GetPromptTest": lambda _: rpc.GetPromptTestResponse(test=self.test),
            f"{service}:ListPromptTests": lambda _: rpc.ListPromptTestsResponse(tests=[self.test]),
            f"{service}:CancelPromptTest": lambda _: rpc.CancelPromptTestResponse(test=self.test),
            f"{service}:ListPromptResults": lambda _: rpc.ListPromptResultsResponse(results=[self.result]),
            "inference.v1.inference_service:GenerateStream": self._generate,
        }

    @property
    def test(self) -> pb.PromptTest:
        """The last test that was started, as it ended."""
        variants = self.started[-1].variants if self.started else [pb.PromptVariant(name="answer@1")]
        test = pb.PromptTest(
            id="t1",
            suite="truth",
            suite_version=2,
            variants=variants,
            state=self.state,
            answered=3 * len(variants),
            cells=3 * len(variants),
            confidence=0.95,
        )
        for number, _ in enumerate(variants):
            figures = test.figures.add(answered=3)
            figures.measures.add(metric="rouge_l", observations=3, mean=0.5 + number / 10, low=0.1, high=0.9)
            figures.measures.add(metric="output_tokens", observations=3, mean=30, less_is_better=True)
            if number == 1:
                measure = figures.measures[0]
                measure.pairs, measure.difference = 3, 0.1
                measure.difference_low, measure.difference_high = 0.02, 0.2
            if number == 2:
                figures.answered, figures.failures, figures.failure = 2, 1, "PROMPT_REFUSED"
        return test

    @property
    def result(self) -> pb.PromptResult:
        """The answers to a case."""
        answers = [
            pb.VariantAnswer(text=f"<b>answer {number}</b>", scores={"rouge_l": 0.5})
            for number, _ in enumerate(self.test.variants)
        ]
        return pb.PromptResult(case="c1", question="what is 1 & 2?", reference="three", answers=answers)

    def _start(self, request: rpc.StartPromptTestRequest) -> rpc.StartPromptTestResponse:
        self.started.append(request)
        return rpc.StartPromptTestResponse(test=self.test)

    async def _generate(self, request: GenerateStreamRequest) -> AsyncIterator[GenerateStreamResponse]:
        self.asked.append(request.request)
        if request.request.prompt == "answer@2":
            raise InvalidInput.at(field="variables", text="tone is not declared by the prompt")
        said = f"by {request.request.prompt or 'the live prompt'}"
        yield GenerateStreamResponse(sequence=1, delta=PartDelta(text=said))
        answer = Inference(id="i1", output=[Message(role=ROLE_ASSISTANT, parts=[Part(text=said)])])
        answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total.seconds = 12, 3, 2
        yield GenerateStreamResponse(sequence=2, finished=answer)


def _checked(prompt: Prompt) -> None:
    if "{% if %}" in prompt.content.user:
        raise InvalidInput.at(field="content.user", text="line 1: expected an expression")
