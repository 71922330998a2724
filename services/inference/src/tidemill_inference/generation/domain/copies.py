"""Copies of a record for who reads it, never stored: with all that was said, or without what is not for the reader."""

from collections.abc import Collection
from dataclasses import replace

from tidemill_inference.generation.domain.content import question_in
from tidemill_inference.generation.domain.inference import Answer, Inference
from tidemill_inference.generation.domain.question import Question


def delivered(inference: Inference, question: Question, answer: Answer | None = None) -> Inference:
    """Return a copy with the full answer for connected clients, regardless of the record mode."""
    copy = replace(
        inference,
        messages=question.messages,
        end_user=question.end_user,
        conversation=question.conversation,
        labels=dict(question.labels),
        pending=[],
    )
    if answer is None:
        return copy
    return replace(
        copy,
        variant=answer.variant,
        output=answer.output,
        alternatives=answer.alternatives,
        logprobs=answer.logprobs,
        passages=answer.passages,
        usage=answer.usage,
        warnings=answer.warnings,
        attempts=answer.attempts,
        cache=answer.cache,
        examples=answer.examples,
    )


def without_content(inference: Inference) -> Inference:
    """Return a copy that says neither what was asked or answered, nor on what."""
    return replace(
        inference,
        messages=(),
        variables={},
        principals=(),
        labels={},
        output=(),
        alternatives=(),
        logprobs=(),
        passages=(),
        examples=None,
        conversation="",
        history=None,
        warnings=(),
        pending=[],
        restricted=True,
    )


def without_names_of(inference: Inference, versions: Collection[tuple[str, int]]) -> Inference:
    """Return a copy that does not say which documents of other projects these are; itself where there are none."""
    named = [bool(each.collection) and (each.document, each.version) in versions for each in inference.passages]
    if not any(named):
        return inference
    passages = zip(inference.passages, named, strict=True)
    unnamed = tuple(each.unnamed() if is_named else each for each, is_named in passages)
    return replace(inference, passages=unnamed, pending=[], restricted=True)


def without_earlier_messages(inference: Inference) -> Inference:
    """Return a copy of the question alone with its answer; the record itself where nothing came before it."""
    if len(inference.messages) <= 1:
        return inference
    asked = question_in(inference.messages)
    return replace(inference, messages=inference.messages[asked:][:1], pending=[], restricted=True)
