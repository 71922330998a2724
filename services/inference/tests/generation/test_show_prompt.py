"""What the model saw, rendered again from the record: it is what the engine was given, to the last character."""

from collections.abc import Sequence

import pytest

from services.inference.tests.fakes import (
    ADA,
    HANDBOOK,
    AnsweringHarness,
    DirectTemplates,
    ScriptedEngine,
    asking,
    helpdesk,
    question,
)
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable, Internal
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.generation.domain.errors import InferenceNotFound, PromptNotRecorded, TextGone
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.generation.show_prompt import ShowPrompt
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_testkit.clocks import NOON

TURNS = (
    Message.of(Role.SYSTEM, "Be short."),
    Message.of(Role.USER, "Hello"),
    Message.of(Role.ASSISTANT, "Hello, what is it?"),
    Message.of(Role.USER, "What does os.walk do?"),
)
PROMPT = PromptContent(
    system="You help {{ who }}.",
    user="{% for p in passages %}[{{ p.id }}] {{ p.title }} {{ p.score }}: {{ p.text }}\n{% endfor %}{{ question }}",
    variables_schema='{"properties": {"who": {"type": "string"}}}',
)


class Documents:
    """An ingest that has the texts in which these passages are spans."""

    def __init__(self, passages: Sequence[Passage] = HANDBOOK) -> None:
        self.asked: list[tuple[str, str, int]] = []
        self.texts: dict[tuple[str, int], str] = {}
        for each in passages:
            text = self.texts.get((each.document, each.version), "").ljust(each.start, "\N{SNOWMAN}")
            self.texts[each.document, each.version] = text[: each.start] + each.text + text[each.end :]

    async def get(self, caller: Caller, document: str, version: int) -> str:
        self.asked.append((caller.project, document, version))
        if (document, version) not in self.texts:
            raise TextGone(document, version=version)
        return self.texts[document, version]


def spans(*texts: str, document: str = "d1") -> tuple[Passage, ...]:
    """Return passages that follow each other in one document."""
    found, start = [], 3
    for number, text in enumerate(texts, start=1):
        found.append(
            Passage(
                id=str(number), document=document, version=2, start=start, end=start + len(text), score=0.1, text=text
            )
        )
        start += len(text)
    return tuple(found)


def shows(harness: AnsweringHarness, documents: Documents) -> ShowPrompt:
    return ShowPrompt(reading=harness.reading, prompts=harness.prompts, templates=DirectTemplates(), texts=documents)


async def test_it_is_what_the_engine_was_given() -> None:
    passages = spans("os.walk walks.", "It is a généra­teur \N{GRINNING FACE}.")
    harness = AnsweringHarness(prompt=PROMPT, passages=passages)
    documents = Documents(passages)
    asked = question(messages=TURNS, variables={"who": "Ada"}, principals=("staff",))
    answer = await harness.answer.whole(ADA, asked, request=asking("r"))
    await harness.prompts.update(
        ADA.project,
        "answer",
        lambda prompt: prompt.write(PromptContent(user="changed"), digest="e", now=NOON),
        request=asking("p"),
    )

    shown = await shows(harness, documents)(ADA, answer.id)

    assert shown.messages == harness.engine.seen[0].messages
    assert (shown.earlier, shown.question) == (TURNS[:-1], "What does os.walk do?")
    assert (shown.variables, shown.principals) == ({"who": "Ada"}, ("staff",))
    assert documents.asked == [("acme", "d1", 2)]
    assert (await harness.stored(answer)).passages[0].text == ""


async def test_a_passage_that_begins_within_a_table_is_shown_below_the_tables_header() -> None:
    text = "| Part | Price |\n|---|---|\n| A | 1 |\n| B | 2 |"
    header, row = text.index("\n| A"), text.index("| B")
    shown = f"{text[:header]}\n{text[row:]}"
    passage = Passage(
        id="1", document="d1", version=2, start=row, end=len(text), score=0.1, text=shown, header_end=header
    )
    harness, documents = AnsweringHarness(prompt=PROMPT, passages=(passage,)), Documents(())
    documents.texts["d1", 2] = text
    answer = await harness.answer.whole(ADA, question(messages=TURNS, variables={"who": "Ada"}), request=asking("r"))

    assert (await shows(harness, documents)(ADA, answer.id)).messages == harness.engine.seen[0].messages
    assert shown in harness.engine.seen[0].messages[-1].text


async def test_passages_that_were_cut_are_not_shown_and_a_fallback_saw_the_same() -> None:
    passages = spans("one " * 8, "two " * 8, "three " * 8)
    broken = ScriptedEngine(fails_before=Internal("broken"))
    small = ScriptedEngine(context_tokens=44)
    harness = AnsweringHarness(
        broken, deployment=helpdesk(fallback=("small",), sampling=question().sampling), passages=passages, small=small
    )
    answer = await harness.answer.whole(ADA, question(), request=asking("r"))
    assert any("passages cut" in warning for warning in answer.warnings)

    shown = await shows(harness, Documents(passages))(ADA, answer.id)

    assert shown.messages == small.seen[0].messages
    assert shown.messages != broken.seen[0].messages


async def test_without_retrieval_no_service_is_asked_for_texts() -> None:
    harness, documents = AnsweringHarness(deployment=helpdesk(retrieval=None)), Documents()
    answer = await harness.answer.whole(ADA, question(), request=asking("r"))

    shown = await shows(harness, documents)(ADA, answer.id)

    assert shown.messages == harness.engine.seen[0].messages
    assert not documents.asked


async def test_passages_that_a_caller_gave_are_shown_too() -> None:
    passages = spans("os.walk is given.", document="d9")
    harness = AnsweringHarness()
    asked = question(purpose=Purpose.EVALUATION, passages=passages)
    answer = await harness.answer.whole(ADA, asked, request=asking("r"))

    shown = await shows(harness, Documents(passages))(ADA, answer.id)

    assert shown.messages == harness.engine.seen[0].messages
    assert "os.walk is given." in shown.messages[-1].text


async def test_a_text_that_was_erased_is_not_shown_again() -> None:
    harness, documents = AnsweringHarness(), Documents()
    answer = await harness.answer.whole(ADA, question(), request=asking("r"))
    del documents.texts["d2", 1]

    with pytest.raises(TextGone, match="document d2, version 1") as raised:
        await shows(harness, documents)(ADA, answer.id)
    assert raised.value.reason == "TEXT_GONE"
    documents.texts["d2", 1] = "short"
    with pytest.raises(TextGone):
        await shows(harness, documents)(ADA, answer.id)


@pytest.mark.parametrize("mode", [RecordMode.NONE, RecordMode.METADATA])
async def test_what_was_not_recorded_cannot_be_shown(mode: RecordMode) -> None:
    harness = AnsweringHarness()
    answer = await harness.answer.whole(ADA, question(record=mode), request=asking("r"))

    with pytest.raises(PromptNotRecorded, match=f"is {mode.name}, and FULL is needed"):
        await shows(harness, Documents())(ADA, answer.id)


async def test_an_inference_without_an_answer_or_of_another_project_is_not_shown() -> None:
    harness = AnsweringHarness(ScriptedEngine(fails_before=DependencyUnavailable("gone", dependency="x")))
    with pytest.raises(DependencyUnavailable):
        await harness.answer.whole(ADA, question(), request=asking("r"))
    failed = await harness.only_record()

    with pytest.raises(PromptNotRecorded, match="has to be COMPLETED"):
        await shows(harness, Documents())(ADA, failed.id)
    with pytest.raises(InferenceNotFound):
        await shows(harness, Documents())(Caller(project="globex"), failed.id)
