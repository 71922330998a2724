"""What engines of models on the disk have in common: what they can do, and what a prompt asks of them."""

from tidemill_core.errors import InvalidInput, Violation
from tidemill_inference.deployments.domain.configuration import Sampling
from tidemill_inference.engines.grammars import GrammarChecker, grammar_of, offered_tools
from tidemill_inference.engines.ports import DEFAULT_OUTPUT_TOKENS, Capability, Prompt
from tidemill_inference.engines.tool_calls import ToolCallReader, ToolFormat


def capabilities_of(tools: ToolFormat | None, *, readable: bool) -> frozenset[Capability]:
    """Return what an engine can do: calls need a chat template that has them, and guiding a readable vocabulary."""
    lacking = set() if readable else {Capability.JSON_SCHEMA, Capability.TOOLS}
    if tools is None:
        lacking.add(Capability.TOOLS)
    return frozenset(Capability) - lacking


def is_readable(decoder: str) -> bool:
    """Whether a tokenizer's decoder, as text, says which bytes its tokens are."""
    return "ByteLevel" in decoder or "ByteFallback" in decoder


def declared_capabilities(template: str, decoder: str) -> frozenset[Capability]:
    """Return what an engine can do with a model of which only the chat template and the decoder are known."""
    return capabilities_of(ToolFormat.of(template, {}), readable=is_readable(decoder))


def output_tokens_of(sampling: Sampling, *, prompt_tokens: int, context_tokens: int, name: str) -> int:
    """Return how many tokens an answer may have at most.

    Raises:
        InvalidInput: the prompt leaves none of the context.

    """
    left = context_tokens - prompt_tokens
    if left <= 0:
        message = f"the prompt has {prompt_tokens} tokens; the context of {name} has {context_tokens}"
        raise InvalidInput(message, tokens=prompt_tokens, limit=context_tokens)
    return min(sampling.max_output_tokens or DEFAULT_OUTPUT_TOKENS, left)


def check_logit_bias(sampling: Sampling, *, vocabulary: int, name: str) -> None:
    """Refuse biases of what is no token.

    Raises:
        InvalidInput: the vocabulary does not have it.

    """
    if beyond := [token for token in sampling.logit_bias if token >= vocabulary]:
        text = f"is no token of {name}, whose vocabulary has {vocabulary}"
        raise InvalidInput.of(Violation(f"sampling.logit_bias[{beyond[0]}]", text))


async def checked_grammar(
    project: str, prompt: Prompt, tools: ToolFormat | None, checker: GrammarChecker
) -> str | None:
    """Return the grammar of an answer that compiles in reasonable time; None where it may be any text.

    The checker's vocabulary is bytes: special tokens are text in it.

    Raises:
        As `grammar_of` and `GrammarChecker.check`.

    """
    if (grammar := grammar_of(prompt, tools)) is not None:
        await checker.check(project, grammar_of(prompt, tools.without_special if tools else None) or "")
    return grammar


def call_reader(prompt: Prompt, tools: ToolFormat | None) -> ToolCallReader | None:
    """Return what finds the calls in one candidate; None where the model may call nothing."""
    offered = {tool.name for tool in offered_tools(prompt)}
    if tools is None or not offered:
        return None
    return ToolCallReader(tools, allowed=offered, single=prompt.tool_choice.single_call)
