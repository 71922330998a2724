from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.inference.tests.caching.cached import CachedHarness
from services.inference.tests.caching.similar import SimilarHarness
from services.inference.tests.examples.library import DECLARED, EXAMPLES, Library
from services.inference.tests.fakes import ADA, PROMPT, AnsweringHarness, ScriptedEngine, asking, helpdesk, question
from tidemill_core.application import Caller
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.examples.domain.declared import Examples
from tidemill_inference.examples.domain.example_set import ExampleSet
from tidemill_inference.examples.ports import Nearest
from tidemill_inference.generation.answer import AnswerQuestion
from tidemill_inference.generation.domain.bounds import expected
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.inference import Inference, InferenceWasCompleted
from tidemill_inference.generation.messages import inference_message, payload_of
from tidemill_inference.prompts.domain.prompt import PromptContent

DOWN = DependencyUnavailable("rag is down", dependency="rag")
ASKED = "how do I reset my vpn password now"
TURNS = [
    ("user", EXAMPLES[1].question),
    ("assistant", "answer 2"),
    ("user", EXAMPLES[0].question),
    ("assistant", "answer 1"),
]


class Shown:
    """A deployment that shows examples, which are loaded."""

    def __init__(self, engine: ScriptedEngine | None = None, declared: Examples = DECLARED, **deployment: Any) -> None:  # noqa: ANN401 - of the spec
        self.library = Library()
        self.engine = engine or ScriptedEngine()
        self.harness = AnsweringHarness(
            self.engine,
            deployment=helpdesk(examples=declared, **deployment),
            prompt=replace(PROMPT, system="Be short."),
        )
        self.answer = with_examples(self.harness.answer, self.library)

    async def answered(self, **changes: object) -> Inference:
        await self.library.loads()
        return await self.answer.whole(ADA, question(ASKED, **changes), request=asking("r1"))

    @property
    def seen(self) -> Sequence[tuple[str, str]]:
        return [(each.role.value, each.text) for each in self.engine.seen[-1].messages]


def with_examples(answer: AnswerQuestion, library: Library) -> AnswerQuestion:
    return replace(answer, make=replace(answer.make, choosing=library.choose))


async def test_examples_stand_between_the_rules_and_the_turns_before_the_question() -> None:
    shown = Shown(retrieval=None)
    before = (Message.of(Role.USER, "hello"), Message.of(Role.ASSISTANT, "hi"), Message.of(Role.USER, ASKED))

    answer = await shown.answered(messages=before)

    assert shown.seen == [("system", "Be short."), *TURNS, ("user", "hello"), ("assistant", "hi"), ("user", ASKED)]
    assert answer.warnings == ()


async def test_record_and_event_name_the_examples_and_have_no_text_of_them() -> None:
    shown = Shown()

    answer = await shown.answered()

    record = await shown.harness.stored(answer)
    assert record.examples is not None
    assert (record.examples.dataset, [each.id for each in record.examples.examples]) == ("helpdesk_sft@3", ["e2", "e1"])
    assert answer.examples == record.examples
    completed = InferenceWasCompleted(occurred_at=shown.harness.clock.now(), documents=(), citations=0)
    _, payload = payload_of(record, completed, 1)
    assert [each.id for each in payload.examples.examples] == ["e2", "e1"]  # type: ignore[attr-defined] # of the event
    said = inference_message(record).examples
    assert [each.id for each in said.examples] == ["e2", "e1"]
    assert said.examples[1].similarity == pytest.approx(7 / 8)


async def test_a_record_that_keeps_nothing_names_no_examples_and_erasing_one_forgets_them() -> None:
    shown = Shown()

    answer = await shown.answered(record=RecordMode.NONE)
    assert (await shown.harness.stored(answer)).examples is None

    kept = await shown.answer.whole(ADA, question(ASKED), request=asking("r2"))
    kept.erase(now=shown.harness.clock.now())
    assert kept.examples is None


@pytest.mark.parametrize(("max_tokens", "left"), [(100, ["e2", "e1"]), (15, ["e1"]), (3, [])])
async def test_the_least_similar_examples_are_left_out_beyond_the_tokens_that_they_may_have(
    max_tokens: int, left: list[str]
) -> None:
    shown = Shown(ScriptedEngine(context_tokens=10_000), replace(DECLARED, max_tokens=max_tokens))

    answer = await shown.answered()

    assert [each.id for each in (answer.examples.examples if answer.examples else ())] == left
    cut = 2 - len(left)
    assert list(answer.warnings) == ([f"{cut} of 2 examples cut: they did not fit"] if cut else [])


async def test_examples_that_do_not_fit_the_context_are_left_out_before_passages_are() -> None:
    whole = Shown(ScriptedEngine(context_tokens=10_000))
    answer = await whole.answered()
    tokens = sum(len(text.split()) for _, text in whole.seen)

    tight = Shown(ScriptedEngine(context_tokens=2 * (tokens - 4)))
    cut = await tight.answered(sampling=replace(question().sampling, max_output_tokens=10_000))

    assert [each.id for each in (cut.examples.examples if cut.examples else ())] == ["e1"]
    assert len(cut.passages) == len(answer.passages)


async def test_without_an_engine_that_counts_tokens_they_are_estimated_by_characters() -> None:
    shown = Shown(declared=replace(DECLARED, max_tokens=15))

    answer = await shown.answered()

    assert answer.examples is not None
    assert [each.id for each in answer.examples.examples] == ["e1"]


async def test_without_an_engine_that_counts_tokens_other_scripts_are_estimated_by_bytes() -> None:
    shown = Shown(declared=replace(DECLARED, max_tokens=60))
    shown.library.versions.examples = tuple(replace(each, answer="\u7b54" * 30) for each in EXAMPLES)

    answer = await shown.answered()

    assert (answer.examples, list(answer.warnings)) == (None, ["2 of 2 examples cut: they did not fit"])


def test_budgets_reserve_the_most_tokens_that_examples_can_be_by_whatever_tokenizer() -> None:
    plain, shown = (
        expected(
            question(ASKED),
            ChosenConfiguration(variant="live", configuration=deployment.live),
            PromptContent(user="{{ question }}"),
            deployment,
        )
        for deployment in (helpdesk(), helpdesk(examples=replace(DECLARED, max_tokens=100, count=2)))
    )

    assert shown.input_tokens - plain.input_tokens == 3 * 101 + 2 * 2 * 16


async def test_an_answer_without_its_examples_warns_and_is_not_given_again() -> None:
    cached = CachedHarness(examples=DECLARED)
    library = Library()
    answer = with_examples(cached.answer, library)

    first = await answer.whole(ADA, question(ASKED), request=asking("r1"))
    await library.loads()
    second = await answer.whole(ADA, question(ASKED), request=asking("r2"))
    third = await answer.whole(ADA, question(ASKED), request=asking("r3"))

    assert first.warnings[0].startswith("examples_not_ready")
    assert second.cache is None
    assert third.cache is not None
    library.versions.part, library.versions.examples = "acme/helpdesk_sft/two", EXAMPLES[1:]
    await library.loads()
    fourth = await answer.whole(ADA, question(ASKED), request=asking("r4"))
    assert fourth.cache is None


async def test_while_examples_cannot_be_chosen_no_answer_without_any_is_given_again() -> None:
    cached, library = CachedHarness(examples=DECLARED), Library()
    library.choose = replace(library.choose, pause_s=0.0)
    await library.loads()
    answer = with_examples(cached.answer, library)

    first = await answer.whole(ADA, question("dogs are what"), request=asking("r1"))
    library.vectors.down = DOWN
    second = await answer.whole(ADA, question("dogs are what"), request=asking("r2"))
    library.vectors.down = None
    third = await answer.whole(ADA, question("dogs are what"), request=asking("r3"))

    assert (first.examples, first.warnings) == (None, ())
    assert second.cache is None
    assert third.cache is not None


async def test_examples_that_cannot_be_chosen_for_an_earlier_question_leave_it_comparable() -> None:
    similar, library = SimilarHarness(examples=DECLARED), Library()
    await library.loads()
    answer, nearest = with_examples(similar.answer, library), library.vectors.nearest

    async def failing(caller: Caller, of: ExampleSet, *, question: str, **bounds: Any) -> Sequence[Nearest]:  # noqa: ANN401 - as given
        if question == ASKED:
            raise DOWN
        return await nearest(caller, of, question=question, **bounds)

    await answer.whole(ADA, question(ASKED), request=asking("r1"))
    library.vectors.nearest = failing  # type: ignore[method-assign]
    again = await answer.whole(ADA, question(f"{ASKED} please"), request=asking("r2"))

    assert again.cache is None
    assert "nearest" in similar.similar.calls
    assert "remove" not in similar.similar.calls
