"""What passages are searched with where a model rewrites questions."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from services.inference.tests.fakes import ADA, AnsweringHarness, asking, helpdesk
from services.inference.tests.generation.test_retrieve import TURNS, conversation
from tidemill_core.application import Caller
from tidemill_core.errors import Blame, DependencyTimedOut, DependencyUnavailable, TidemillError
from tidemill_inference.deployments.domain.configuration import Retrieval, Sampling
from tidemill_inference.engines.ports import ModelVersion, RemoteModel
from tidemill_inference.generation.domain.content import Message, Role
from tidemill_inference.generation.domain.history import History, PastTurn
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.steps.rewrite import Rewrite
from tidemill_inference.routing.asking import AskModel

SLOW = DependencyTimedOut("slow", dependency="model", blame=Blame.VARIANT)
BOTH = ["And what is it made of?", "And what is it made of?\nHow often is the glimmer valve serviced?"]
NOT_REWRITTEN = "the question was not rewritten for the search: model small@1"


@dataclass
class Asked:
    """Implements `Asking`."""

    says: str = "What is the glimmer valve made of?"
    fails: TidemillError | None = None
    prompts: list[str] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)

    async def __call__(
        self, caller: Caller, model: str, messages: Sequence[Message], *, max_output_tokens: int, timeout_s: float
    ) -> str:
        assert (caller, model) == (ADA, "small@1")
        assert max_output_tokens
        self.prompts.append(messages[-1].text)
        self.timeouts.append(timeout_s)
        if self.fails:
            raise self.fails
        return self.says


def rewriting(asked: Asked, **changes: object) -> AnsweringHarness:
    retrieval = replace(Retrieval(collection="handbook", rewrite="small@1"), **changes)  # type: ignore[arg-type]
    harness = AnsweringHarness(deployment=helpdesk(retrieval=retrieval))
    harness.answer = replace(
        harness.answer, make=replace(harness.answer.make, rewrite=Rewrite(ask=asked, timeout_s=2.0))
    )
    return harness


async def searched(harness: AnsweringHarness, question: Question) -> tuple[list[str], tuple[str, ...]]:
    answer = await harness.answer.whole(ADA, question, request=asking("r1"))
    return [query for query, _ in harness.rag.asked], answer.warnings


async def test_the_rewritten_question_is_searched_with_in_place_of_the_last_message_alone() -> None:
    asked = Asked()

    queries, warnings = await searched(rewriting(asked), conversation(*TURNS))

    assert queries == ["What is the glimmer valve made of?", BOTH[1]]
    assert warnings == ()
    assert asked.prompts == [f"User: {TURNS[0]}\nAssistant: {TURNS[1]}\nUser: {TURNS[2]}"]
    assert asked.timeouts == [2.0]


async def test_the_turns_of_a_conversation_count_as_those_that_a_client_sends() -> None:
    asked = Asked()
    past = PastTurn(inference="i1", messages=(Message.of(Role.USER, TURNS[0]), Message.of(Role.ASSISTANT, TURNS[1])))
    question = replace(conversation(TURNS[2]), history=History(turns=(past,)))

    queries, _ = await searched(rewriting(asked), question)

    assert queries == ["What is the glimmer valve made of?", BOTH[1]]


async def test_a_question_without_turns_before_it_is_not_rewritten() -> None:
    asked = Asked()

    queries, _ = await searched(rewriting(asked), conversation(TURNS[0]))

    assert (queries, asked.prompts) == ([TURNS[0]], [])


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (Asked(fails=SLOW), "failed (DEPENDENCY_TIMED_OUT)"),
        (Asked(says="\n \n"), "gave no question"),
        (Asked(says='""'), "gave no question"),
    ],
)
async def test_where_it_fails_or_is_slow_the_user_turns_are_searched_with_and_the_answer_says_so(
    asked: Asked, why: str
) -> None:
    queries, warnings = await searched(rewriting(asked), conversation(*TURNS))

    assert queries == BOTH
    assert [each.startswith(NOT_REWRITTEN) and why in each for each in warnings] == [True], warnings


@pytest.mark.parametrize("says", ["Question: Who made it?", '"Who made it?"', "\nWho made it?\nBecause of ..."])
async def test_of_what_a_model_says_the_first_line_is_the_question(says: str) -> None:
    queries, _ = await searched(rewriting(Asked(says=says)), conversation(*TURNS))

    assert queries[0] == "Who made it?"


async def test_a_question_that_is_rewritten_as_it_is_is_searched_with_as_without_rewriting() -> None:
    queries, warnings = await searched(rewriting(Asked(says=TURNS[2])), conversation(*TURNS))

    assert (queries, warnings) == (BOTH, ())


async def test_the_model_is_asked_greedily_and_no_longer_than_it_may_take() -> None:
    harness = AnsweringHarness()
    ask = AskModel(models=harness.registry, router=harness.router, engines=harness.engines)
    messages = (Message.of(Role.USER, "x"),)

    said = await ask(ADA, "smollm2", messages, max_output_tokens=7, timeout_s=5.0)
    assert said == harness.engine.says
    assert harness.engine.seen[-1].sampling == Sampling(temperature=0.0, max_output_tokens=7)
    harness.engine.gate.clear()
    with pytest.raises(DependencyTimedOut, match="did not answer within"):
        await ask(ADA, "smollm2", messages, max_output_tokens=7, timeout_s=0.01)


async def test_the_model_is_asked_again_as_for_an_answer() -> None:
    harness = AnsweringHarness()
    harness.engine.fails_before = DependencyUnavailable("it is down", dependency="it", blame=Blame.VARIANT)
    models = RemoteModels(harness)
    router = replace(harness.router, models=models, retries=2)
    ask = AskModel(models=models, router=router, engines=harness.engines)

    with pytest.raises(DependencyUnavailable):
        await ask(ADA, "smollm2", (Message.of(Role.USER, "x"),), max_output_tokens=7, timeout_s=5.0)

    assert harness.engine.runs == 3
    assert {model for model, _, _ in harness.routing.attempts} == {"smollm2@1"}


@dataclass
class RemoteModels:
    """A registry whose models are all remote."""

    harness: AnsweringHarness

    async def resolve(self, caller: Caller, reference: str, *, field: str) -> ModelVersion:
        found = await self.harness.registry.resolve(caller, reference, field=field)
        return replace(found, remote=RemoteModel(model="gpt", base_url="https://api/v1"))


def test_another_model_that_rewrites_makes_another_configuration() -> None:
    plain = helpdesk(retrieval=Retrieval(collection="handbook")).live
    rewritten = plain.with_answer(retrieval=Retrieval(collection="handbook", rewrite="small@1"))

    assert len({plain.digest, rewritten.digest}) == 2
