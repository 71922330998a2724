"""How much one question may bring, as an operator has set it."""

from dataclasses import dataclass

from tidemill_inference.deployments.domain.configuration import DEFAULT_SAMPLING, SAMPLING_BOUNDS, SamplingLimits
from tidemill_inference.generation.domain.errors import QuestionRefused

SETTING = "INFERENCE_QUESTION_MAX_"
"""Begins the names of the settings, which go on as the limits do."""
PARTS = "has {} parts together; send at most {}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLimits:
    """Each is a setting: `tools` is INFERENCE_QUESTION_MAX_TOOLS. `parts` are those of all messages together.

    `prompts` are those of one completion, each of which is a question.
    """

    messages: int = 1000
    parts: int = 10_000
    principals: int = 1000
    labels: int = 64
    passages: int = 100
    variables_bytes: int = 1024 * 1024
    tools: int = 128
    candidates: int = 16
    prompts: int = 64
    schema_characters: int = 64 * 1024
    all_schema_characters: int = 512 * 1024
    sampling: SamplingLimits = DEFAULT_SAMPLING

    def check(self, name: str, number: int, *, where: str = "", what: str = "has {}; send at most {}") -> None:
        """Refuse more than the limit of this name.

        Raises:
            QuestionRefused: names the field (`where`, else the limit's name), the number, the limit and its setting.

        """
        limit = getattr(self, name)
        if number > limit:
            why = f"{what.format(number, limit)}, or have {SETTING}{name.upper()} raised"
            raise QuestionRefused(field=where or name, why=why)


DEFAULT_LIMITS = QuestionLimits()
QUESTION_BOUNDS = QuestionLimits(
    passages=1000,
    variables_bytes=16 * 1024 * 1024,
    tools=1000,
    candidates=128,
    prompts=1000,
    schema_characters=1024 * 1024,
    all_schema_characters=8 * 1024 * 1024,
    sampling=SAMPLING_BOUNDS,
)
"""What settings may say at most. Messages, parts and the like are converted on the event loop: there is no more."""
