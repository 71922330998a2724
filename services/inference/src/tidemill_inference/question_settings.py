"""How much one question may bring: settings of inference, read under its prefix."""

from pydantic import Field

from tidemill_inference.deployments.domain.configuration import DEFAULT_SAMPLING, SAMPLING_BOUNDS, SamplingLimits
from tidemill_inference.engines.ports import DEFAULT_GRAMMAR_BYTES
from tidemill_inference.generation.domain.limits import DEFAULT_LIMITS, QUESTION_BOUNDS, QuestionLimits
from tidemill_kit.runtime.settings import ServiceSettings


class QuestionSettings(ServiceSettings):
    """Their bounds are what an API converts of a request before its question is checked."""

    question_max_messages: int = Field(DEFAULT_LIMITS.messages, ge=1, le=QUESTION_BOUNDS.messages)
    """Messages of one question."""
    question_max_parts: int = Field(DEFAULT_LIMITS.parts, ge=1, le=QUESTION_BOUNDS.parts)
    """Parts of all messages of one question together."""
    question_max_principals: int = Field(DEFAULT_LIMITS.principals, ge=1, le=QUESTION_BOUNDS.principals)
    """Reader groups that one question names."""
    question_max_labels: int = Field(DEFAULT_LIMITS.labels, ge=1, le=QUESTION_BOUNDS.labels)
    """Labels of one question."""
    question_max_passages: int = Field(DEFAULT_LIMITS.passages, ge=1, le=QUESTION_BOUNDS.passages)
    """Passages that a comparison may bring."""
    question_max_variables_bytes: int = Field(
        DEFAULT_LIMITS.variables_bytes, ge=1024, le=QUESTION_BOUNDS.variables_bytes
    )
    """Bytes of the variables of one question, over gRPC; over HTTP the whole body is limited."""
    question_max_tools: int = Field(DEFAULT_LIMITS.tools, ge=0, le=QUESTION_BOUNDS.tools)
    """Tools of one question."""
    question_max_candidates: int = Field(DEFAULT_LIMITS.candidates, ge=1, le=QUESTION_BOUNDS.candidates)
    """Answers to one question (`n`); of a local model see also INFERENCE_ENGINE_CANDIDATES."""
    question_max_prompts: int = Field(DEFAULT_LIMITS.prompts, ge=1, le=QUESTION_BOUNDS.prompts)
    """Prompts of one completion over HTTP, each of which is a question."""
    completion_prompts_max_concurrent: int = Field(8, ge=1, le=QUESTION_BOUNDS.prompts)
    """Prompts of one completion that are answered, or wait for a place, at the same time."""
    question_max_schema_characters: int = Field(
        DEFAULT_LIMITS.schema_characters, ge=64, le=QUESTION_BOUNDS.schema_characters
    )
    """Characters of the JSON Schema of one tool, or of the output."""
    question_max_all_schema_characters: int = Field(
        DEFAULT_LIMITS.all_schema_characters, ge=64, le=QUESTION_BOUNDS.all_schema_characters
    )
    """Characters of all JSON Schemas of one question together."""
    question_max_stops: int = Field(DEFAULT_SAMPLING.stops, ge=0, le=SAMPLING_BOUNDS.stops)
    """Texts that end an answer (`stop`), of a question or a deployment."""
    question_max_stop_characters: int = Field(
        DEFAULT_SAMPLING.stop_characters, ge=1, le=SAMPLING_BOUNDS.stop_characters
    )
    """Characters of one of these."""
    question_max_biased_tokens: int = Field(DEFAULT_SAMPLING.biased_tokens, ge=0, le=SAMPLING_BOUNDS.biased_tokens)
    """Tokens with a bias (`logit_bias`)."""
    question_max_top_logprobs: int = Field(DEFAULT_SAMPLING.top_logprobs, ge=0, le=SAMPLING_BOUNDS.top_logprobs)
    """Tokens whose log probability is returned in each place (`top_logprobs`)."""
    grammar_max_bytes: int = Field(DEFAULT_GRAMMAR_BYTES, ge=1024, le=1024 * 1024)
    """The schemas of one answer of a local model, with the rules around them, as they are compiled."""

    @property
    def sampling_limits(self) -> SamplingLimits:
        """The limits of sampling."""
        return SamplingLimits(
            stops=self.question_max_stops,
            stop_characters=self.question_max_stop_characters,
            biased_tokens=self.question_max_biased_tokens,
            top_logprobs=self.question_max_top_logprobs,
        )

    @property
    def question_limits(self) -> QuestionLimits:
        """The limits of questions."""
        return QuestionLimits(
            messages=self.question_max_messages,
            parts=self.question_max_parts,
            principals=self.question_max_principals,
            labels=self.question_max_labels,
            passages=self.question_max_passages,
            variables_bytes=self.question_max_variables_bytes,
            tools=self.question_max_tools,
            candidates=self.question_max_candidates,
            prompts=self.question_max_prompts,
            schema_characters=self.question_max_schema_characters,
            all_schema_characters=self.question_max_all_schema_characters,
            sampling=self.sampling_limits,
        )
