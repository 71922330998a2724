"""One answer on its way through its steps."""

import time
from dataclasses import dataclass, field

from tidemill_core.application import Caller
from tidemill_inference.deployments.domain.configuration import AnswerStep, Sampling
from tidemill_inference.engines.ports import Finish
from tidemill_inference.generation.citations.citations import Grounding
from tidemill_inference.generation.domain.content import Message, Part, Passage, Role
from tidemill_inference.generation.domain.history import NO_HISTORY, History
from tidemill_inference.generation.domain.inference import Answer, Inference, Question, Usage, Variant
from tidemill_inference.generation.ports import Found
from tidemill_inference.generation.shared import Generation
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.routing.domain.policy import Routing


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What a model said: its text is in the generation. `passages` are those that it was given."""

    variant: Variant
    passages: tuple[Passage, ...]
    finish: Finish
    first_token_s: float | None


@dataclass(slots=True, kw_only=True)
class Context:
    """What the steps read and write; `started` and `deadline` are on time.monotonic()."""

    caller: Caller
    inference: Inference
    question: Question
    step: AnswerStep
    content: PromptContent
    generation: Generation
    started: float
    deadline: float
    warnings: list[str]
    routing: Routing = field(default_factory=Routing)
    found: Found = field(default_factory=lambda: Found(passages=(), index=0))
    """Written by Retrieve."""
    search_s: float = 0.0
    history: History = NO_HISTORY
    """What the model was given of what was said before; written by Render."""
    generated: Generated | None = None
    """Written by Generate."""
    grounding: Grounding | None = None
    """Written by Cite."""

    @property
    def sampling(self) -> Sampling:
        """The question's sampling, over the configuration's."""
        return self.question.sampling.over(self.step.sampling)

    def elapsed_s(self) -> float:
        """Return the time since the question came."""
        return time.monotonic() - self.started

    def remaining_s(self) -> float:
        """Return the time that is left."""
        return max(0.0, self.deadline - time.monotonic())

    def answer(self) -> Answer:
        """Return the whole answer, after the last step."""
        generated, grounding = self.generated, self.grounding
        assert generated is not None  # noqa: S101 - see above
        assert grounding is not None  # noqa: S101 - ditto
        part, total_s = Part(text=self.generation.text, citations=grounding.citations), self.elapsed_s()
        return Answer(
            output=(Message(role=Role.ASSISTANT, parts=(part,)),),
            variant=generated.variant,
            passages=generated.passages,
            usage=Usage(
                input_tokens=generated.finish.input_tokens,
                output_tokens=generated.finish.output_tokens,
                first_token_s=total_s if generated.first_token_s is None else generated.first_token_s,
                total_s=total_s,
                search_s=self.search_s,
            ),
            finish_reason=generated.finish.reason,
            warnings=tuple(self.warnings),
            attempts=tuple(self.generation.attempts),
            citation_valid=grounding.valid,
            history=self.history.use,
        )
