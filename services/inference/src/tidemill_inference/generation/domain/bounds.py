"""How much a question may use at most, before anything of it is done."""

import json
from collections.abc import Iterator
from dataclasses import replace

from tidemill_inference.budgets.ports import Expected
from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.examples.domain.declared import Examples
from tidemill_inference.generation.domain.content import Message
from tidemill_inference.generation.domain.question import Purpose, Question
from tidemill_inference.prompts.domain.prompt import PromptContent

_MESSAGE_TOKENS = 16
"""Of a chat template around a message, at most."""
_REWRITING_TOKENS = 512
"""Of what a question is rewritten by, beside the messages, and of what comes of it."""
_VARIANT_TOKENS = 64
"""Of another wording of a question, at most."""
_PASSAGE_BYTES = 4096
"""Of a passage that is searched: what collections take for a chunk is far less."""


def expected(
    question: Question,
    chosen: ChosenConfiguration,
    content: PromptContent,
    deployment: Deployment,
    *,
    retries: int = 0,
) -> Expected:
    """Return the upper bound of one answer, by whichever model gives it.

    `retries` are those of a model where the deployment's routing does not say; each fallback has its own.
    """
    configuration, routing = chosen.configuration, deployment.resolved_routing
    live = question.purpose is Purpose.LIVE
    others = (*configuration.fallback, *routing.equals) if live else ()
    retries = retries if routing.policy.retries is None else routing.policy.retries
    searched = configuration.retrieval.top_k * _PASSAGE_BYTES if configuration.retrieval else 0
    if question.passages is not None:
        searched = sum(len(passage.text.encode()) for passage in question.passages)
    texts, rewriting, rewriting_tokens = [*_texts(question), content.system, content.user], "", 0
    if configuration.retrieval and question.passages is None and configuration.retrieval.rewrite:
        rewriting = configuration.retrieval.rewrite
        rewriting_tokens = _REWRITING_TOKENS + _VARIANT_TOKENS * configuration.retrieval.query_variants
    return Expected(
        deployment=deployment.id,
        models=(
            configuration.model,
            *others,
            *([rewriting] if rewriting else []),
        ),
        # An evaluation repeats what end users asked: it spends nothing of theirs.
        end_user=question.end_user if live else "",
        input_bytes=sum(len(text.encode()) for text in texts) * (2 if rewriting else 1) + searched,
        input_tokens=_MESSAGE_TOKENS * (len(question.messages) + len(question.history.messages) + 2)
        + rewriting_tokens
        + _of_examples(configuration.examples),
        output_tokens=question.sampling.over(configuration.sampling).max_output_tokens,
        candidates=question.drawn,
        unanswered=len(others) + retries * (1 + (len(configuration.fallback) if live else 0)),
        attempts=2 if live and routing.policy.hedge_after_s is not None else 1,
        deadline_s=deployment.spec.deadline.total_seconds(),
    )


def limited(question: Question, max_output_tokens: int | None) -> Question:
    """Return the question with a limit of tokens, where a budget has given it one."""
    if max_output_tokens is None:
        return question
    return replace(question, sampling=replace(question.sampling, max_output_tokens=max_output_tokens))


def _of_examples(examples: Examples | None) -> int:
    return examples.reserved_tokens + 2 * _MESSAGE_TOKENS * examples.count if examples else 0


def _texts(question: Question) -> Iterator[str]:
    """Yield all that a prompt may be made of."""
    for message in (*question.history.messages, *question.messages):
        yield from _spoken(message)
    for tool in question.tools:
        yield from (tool.name, tool.description, tool.parameters_json)
    if question.output is not None:
        yield from (question.output.name, question.output.description, question.output.schema_json)
    yield question.history.summary
    yield from (fact.text for fact in question.history.memories)
    yield json.dumps(dict(question.variables), ensure_ascii=False, default=str)


def _spoken(message: Message) -> Iterator[str]:
    yield from (message.text, message.reasoning, message.name)
    for call in message.tool_calls:
        yield from (call.id, call.name, call.arguments_json)
    for result in message.tool_results:
        yield result.id
