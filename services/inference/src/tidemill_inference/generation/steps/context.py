"""One answer on its way through its steps."""

import json
import time
from dataclasses import dataclass, field, replace

from tidemill_core.application import Caller
from tidemill_inference.caching.ports import Reused
from tidemill_inference.deployments.domain.configuration import AnswerStep, Sampling
from tidemill_inference.engines.ports import Finish
from tidemill_inference.examples.domain.example_set import ChosenExample, ShownExample, ShownExamples
from tidemill_inference.generation.citations.citations import Grounding
from tidemill_inference.generation.domain.content import Candidate, Part, Passage
from tidemill_inference.generation.domain.history import NO_HISTORY, History
from tidemill_inference.generation.domain.inference import Answer, Inference, Usage, Variant
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.drafts import Draft, drafts_of, likeliest, message_of, pieces_of
from tidemill_inference.generation.ports import Found
from tidemill_inference.generation.shared import Generation
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.routing.domain.policy import Routing


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What a model said: its pieces are in the generation. `passages` are those that it was given."""

    variant: Variant
    passages: tuple[Passage, ...]
    finishes: tuple[Finish, ...]
    """Of each candidate."""
    first_token_s: float | None

    @property
    def input_tokens(self) -> int:
        """The tokens of the prompt, which all candidates share."""
        return max(each.input_tokens for each in self.finishes)

    @property
    def output_tokens(self) -> int:
        """The tokens of all candidates."""
        return sum(each.output_tokens for each in self.finishes)


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
    examples: tuple[ChosenExample, ...] = ()
    """Written by Choose; Render leaves those that fit."""
    history: History = NO_HISTORY
    """What the model was given of what was said before; written by Render."""
    generated: Generated | None = None
    """Written by Generate."""
    drafts: tuple[Draft, ...] = ()
    """Ditto, by candidate."""
    finishes: tuple[Finish, ...] = ()
    """Ditto."""
    groundings: tuple[Grounding, ...] = ()
    """Written by Cite, by candidate."""

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
        generated, total_s = self.generated, self.elapsed_s()
        assert generated is not None  # noqa: S101 - see above
        answered = zip(self.drafts, self.groundings, self.finishes, strict=True)
        first, *others = [self._candidate(*each) for each in answered]
        return Answer(
            output=first.output,
            logprobs=first.logprobs,
            alternatives=tuple(others),
            variant=generated.variant,
            passages=generated.passages,
            usage=Usage(
                input_tokens=generated.input_tokens,
                cached_input_tokens=max(each.cached_input_tokens for each in generated.finishes),
                output_tokens=generated.output_tokens,
                first_token_s=total_s if generated.first_token_s is None else generated.first_token_s,
                total_s=total_s,
                search_s=self.search_s,
            ),
            finish_reason=first.finish_reason,
            warnings=tuple(self.warnings),
            attempts=tuple(self.generation.attempts),
            citation_valid=self.groundings[0].valid,
            history=self.history.use,
            examples=self._shown_examples(),
        )

    def again(self, reused: Reused) -> Answer:
        """Send an answer that was given before, on the passages that are found for its question now, and return it."""
        first_token_s, passages = self.elapsed_s(), reused.passages
        self.generation.waiting_for = ""
        self.generation.start(replace(self.inference, variant=reused.variant, passages=passages, cache=reused.use))
        for piece in pieces_of(reused.output, reused.alternatives):
            self.generation.add(piece)
        return Answer(
            output=reused.output,
            alternatives=reused.alternatives,
            variant=reused.variant,
            passages=passages,
            usage=Usage(
                input_tokens=0,
                output_tokens=0,
                first_token_s=first_token_s,
                total_s=self.elapsed_s(),
                search_s=self.search_s,
            ),
            finish_reason=reused.finish_reason,
            warnings=tuple(self.warnings),
            citation_valid=reused.citation_valid,
            cache=reused.use,
        )

    def finish_draft(self, generated: Generated) -> None:
        """Take what the model said, whole, with the text that came of it: the likeliest of more than are given."""
        self.generated = generated
        drafts = drafts_of(self.generation.pieces, candidates=self.question.drawn)
        given = likeliest(drafts, self.question.candidates)
        if self.question.ranked and any(each.unranked for each in drafts):
            text = f"model {generated.variant.model} gave texts without log probabilities: best_of cannot rank those"
            self.warnings.append(text)
        self.drafts = tuple(drafts[number] for number in given)
        self.finishes = tuple(generated.finishes[number] for number in given)

    def _shown_examples(self) -> ShownExamples | None:
        if not self.examples or self.step.examples is None:
            return None
        shown = tuple(ShownExample(id=each.example.id, similarity=each.similarity) for each in self.examples)
        return ShownExamples(dataset=self.step.examples.dataset, examples=shown)

    def _candidate(self, draft: Draft, grounding: Grounding, finish: Finish) -> Candidate:
        text = Part(text=draft.text, citations=grounding.citations)
        if self.question.output is not None and _is_json(draft.text):
            text = Part(json=draft.text)
        logprobs = draft.logprobs if self.sampling.logprobs else ()
        return Candidate(output=(message_of(draft, text),), finish_reason=finish.reason, logprobs=logprobs)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
