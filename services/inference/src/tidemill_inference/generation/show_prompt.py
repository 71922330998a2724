"""Show what the model saw for an inference, without ever having kept the passages' texts."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace

from tidemill_core.application import Caller
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message, Passage, question_in
from tidemill_inference.generation.domain.errors import PromptNotRecorded, TextGone
from tidemill_inference.generation.domain.history import NO_HISTORY
from tidemill_inference.generation.domain.inference import Inference, State
from tidemill_inference.generation.ports import Conversing, DocumentTexts
from tidemill_inference.generation.read_inferences import ReadInferences
from tidemill_inference.generation.steps.render import conversation
from tidemill_inference.prompts.domain.references import UNSAVED, Reference
from tidemill_inference.prompts.ports import ReadPrompts, Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownPrompt:
    """The messages as the model saw them, but for examples, and the question with all that it was asked with."""

    messages: tuple[Message, ...]
    question: str
    earlier: tuple[Message, ...]
    variables: Mapping[str, object]
    principals: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShowPrompt:
    """Renders again from the record; the texts of its passages come from their owner, so what was erased stays gone.

    Examples are left out: what is learnt from a prompt is erased with its own author alone.
    """

    reading: ReadInferences
    prompts: ReadPrompts
    templates: Templates
    texts: DocumentTexts
    conversing: Conversing | None = None

    async def __call__(self, caller: Caller, inference_id: str) -> ShownPrompt:
        """Return the prompt.

        Raises:
            InferenceNotFound: the project has no such inference.
            AnswerRestricted: it rests on documents that the caller may not read.
            PromptNotRecorded: the record does not keep what was asked, there is no answer yet, or it rests on passages
                of another project.
            TextGone: the text of a passage is not there any more.
            PromptNotFound: the prompt was deleted.
            DependencyUnavailable: ingest does not answer.

        """
        inference = await self.reading.whole(caller, inference_id)
        variant = inference.variant
        if inference.record is not RecordMode.FULL:
            raise PromptNotRecorded(inference_id, why=f"its record mode is {inference.record.name}, and FULL is needed")
        if inference.state is not State.COMPLETED or variant is None:
            raise PromptNotRecorded(inference_id, why=f"it is {inference.state.name}, and has to be COMPLETED")
        if others := sorted({each.collection for each in inference.passages if each.collection}):
            why = f"it rests on passages of {', '.join(others)}, whose project keeps their text"
            raise PromptNotRecorded(inference_id, why=why)
        if variant.prompt.startswith(UNSAVED):
            raise PromptNotRecorded(inference_id, why="it was answered by a prompt that was not saved")
        reference = Reference.of_prompt(variant.prompt)
        content = (await self.prompts.get(caller.project, reference.name)).resolve(reference.pin).content
        history = NO_HISTORY
        if self.conversing and inference.history:
            history = await self.conversing.recall(inference)
        messages = await conversation(
            self.templates,
            inference.project,
            content,
            messages=inference.messages,
            variables=inference.variables,
            passages=await self._passages(caller, inference),
            history=history,
        )
        asked_with = (*history.messages, *inference.messages)
        asked = question_in(asked_with)
        return ShownPrompt(
            messages=messages,
            question=asked_with[asked].text,
            earlier=asked_with[:asked],
            variables=inference.variables,
            principals=inference.principals,
        )

    async def _passages(self, caller: Caller, inference: Inference) -> list[Passage]:
        """Return the record's passages with their texts, each document version asked for once."""
        versions = list({(each.document, each.version) for each in inference.passages})
        found = await asyncio.gather(*(self.texts.get(caller, *version) for version in versions))
        texts = dict(zip(versions, found, strict=True))
        return [_cut(passage, texts[passage.document, passage.version]) for passage in inference.passages]


def _cut(passage: Passage, text: str) -> Passage:
    header, span = (passage.header_start, passage.header_end), (passage.start, passage.end)
    if not all(0 <= start <= end <= len(text) for start, end in (header, span)):
        raise TextGone(passage.document, version=passage.version)
    shown = [header, span] if passage.header_end else [span]
    return replace(passage, text="\n".join(text[start:end] for start, end in shown))
