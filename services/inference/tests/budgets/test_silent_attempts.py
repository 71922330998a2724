"""What a provider may charge of attempts that said nothing counts, as an estimate; what it cannot charge does not."""

import asyncio
from dataclasses import replace

import pytest

from services.inference.tests.budgets.budgeting import BudgetHarness, budget, price
from services.inference.tests.budgets.test_spending import only_state
from services.inference.tests.fakes import ADA, ScriptedEngine, asking, helpdesk, question
from services.inference.tests.fakes import PROMPT as CONTENT
from tidemill_core.errors import Blame, DependencyTimedOut, DependencyUnavailable, TidemillError
from tidemill_inference.budgets.domain.budget import Kind
from tidemill_inference.budgets.domain.errors import BudgetExhausted
from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.generation.domain.bounds import expected
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.rollouts.domain.step_counts import LIVE
from tidemill_inference.routing.domain.policy import RoutingPolicy
from tidemill_testkit.polling import run_ready_tasks

REMOTE = "openai 2 provider.example"
LATE = DependencyTimedOut("it does not answer in time", dependency="it", blame=Blame.VARIANT)
DOWN = DependencyUnavailable("it cannot be reached", dependency="it", blame=Blame.VARIANT)
PROMPT = "What does os.walk do? " * 20
RATES = price(input="1", output="0"), price("big", input="1", output="0")


def a_provider(error: TidemillError) -> ScriptedEngine:
    return ScriptedEngine(fails_before=error, fingerprint=REMOTE)


async def test_the_prompt_of_an_attempt_that_was_given_up_is_charged_as_an_estimate() -> None:
    harness = BudgetHarness(budget(cost="1"), *RATES, engine=a_provider(LATE), big=ScriptedEngine())

    inference = await harness.answer.whole(ADA, question(PROMPT), request=asking("r1"))

    assert inference.cost is not None
    silent, answered = inference.cost.items
    assert (silent.model, silent.estimated, silent.output_tokens) == ("smollm2@1", True, 0)
    assert silent.input_tokens > len(PROMPT) / 4
    assert silent.nanos == silent.input_tokens * 1000
    assert not answered.estimated
    assert only_state(harness).used == {"daily": {Kind.COST: silent.nanos + answered.nanos}}


@pytest.mark.parametrize(
    "silent",
    [a_provider(DOWN), ScriptedEngine(fails_before=LATE)],
    ids=["not reached", "a model of this machine"],
)
async def test_what_no_provider_has_read_costs_no_tokens(silent: ScriptedEngine) -> None:
    harness = BudgetHarness(*RATES, engine=silent, big=ScriptedEngine())

    inference = await harness.answer.whole(ADA, question(PROMPT), request=asking("r1"))

    assert inference.cost is not None
    assert (inference.cost.items[0].input_tokens, inference.cost.items[0].nanos) == (0, 0)


async def test_a_client_that_leaves_before_the_first_token_pays_for_the_prompt() -> None:
    engine = ScriptedEngine(free_words=0, fingerprint=REMOTE)
    engine.gate.clear()
    harness = BudgetHarness(budget(tokens=5000), RATES[0], engine=engine)
    asked = asyncio.create_task(harness.answer.whole(ADA, question(PROMPT), request=asking("r1")))
    while not engine.runs:
        await run_ready_tasks()
    asked.cancel()
    await asyncio.wait([asked])
    while not only_state(harness).used["daily"] or only_state(harness).reserved:
        await run_ready_tasks()

    record = await harness.only_record()

    assert record.cost is not None
    (item,) = record.cost.items
    assert (item.estimated, item.output_tokens) == (True, 0)
    assert only_state(harness).used == {"daily": {Kind.TOKENS: item.input_tokens}}
    assert item.input_tokens > len(PROMPT) / 4


async def test_prompts_of_all_models_that_may_be_silent_are_reserved() -> None:
    enough = len(PROMPT) + 200
    alone = BudgetHarness(budget(tokens=enough))
    with_fallbacks = BudgetHarness(budget(tokens=enough), big=ScriptedEngine(), bigger=ScriptedEngine())

    await alone.answer.whole(ADA, question(PROMPT), request=asking("r1"))
    with pytest.raises(BudgetExhausted):
        await with_fallbacks.answer.whole(ADA, question(PROMPT), request=asking("r1"))


async def test_the_retries_of_a_remote_model_are_reserved_where_the_deployment_says_nothing() -> None:
    harness = BudgetHarness(budget(tokens=len(PROMPT) + 200))

    with pytest.raises(BudgetExhausted):
        await replace(harness.answer, retries=2).whole(ADA, question(PROMPT), request=asking("r1"))


@pytest.mark.parametrize(("purpose", "attempts"), [(Purpose.LIVE, 2 * 3), (Purpose.EVALUATION, 3)])
@pytest.mark.parametrize(("declared", "default"), [(2, 5), (None, 2)])
def test_each_model_that_may_be_asked_may_be_asked_again(
    purpose: Purpose, attempts: int, declared: int | None, default: int
) -> None:
    deployment = helpdesk(fallback=("big",))
    deployment = replace(deployment, spec=replace(deployment.spec, routing=RoutingPolicy(retries=declared)))
    chosen = ChosenConfiguration(variant=LIVE, configuration=deployment.live)

    most = expected(replace(question(PROMPT), purpose=purpose), chosen, CONTENT, deployment, retries=default)

    assert most.unanswered == attempts - 1
