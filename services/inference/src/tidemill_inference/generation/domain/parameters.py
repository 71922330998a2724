"""How an answer was asked for."""

from dataclasses import dataclass, field

from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.domain.tools import OutputFormat, Tool, ToolChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What is kept with an answer that can be shown again, and gone on from, beside question and answer.

    `instructed` says that its first message was for this answer only: what goes on from it is not given it.
    """

    previous: str = ""
    instructed: bool = False
    cuttable: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    output: OutputFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    top_logprobs: int | None = None

    @classmethod
    def of(cls, question: Question) -> "Parameters":
        """Return those of a question."""
        sampling = question.sampling
        return cls(
            previous=question.previous,
            instructed=question.instructed,
            cuttable=question.cuttable,
            tools=question.tools,
            tool_choice=question.tool_choice,
            output=question.output,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            max_output_tokens=sampling.max_output_tokens,
            top_logprobs=sampling.top_logprobs,
        )
