"""Answers reserve what they may need before anything is done, and are charged what they used."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.inference.tests.budgets.budgeting import LIMITED, BudgetHarness, budget, price
from services.inference.tests.budgets.ledgers import InMemoryLedger
from services.inference.tests.fakes import ADA, ScriptedEngine, all_steps, asking, helpdesk, question
from tidemill_core.errors import DependencyUnavailable
from tidemill_inference.budgets.domain.budget import BudgetWasExhausted, Kind, Per, Window
from tidemill_inference.budgets.domain.errors import BudgetExhausted, PriceMissing
from tidemill_inference.budgets.domain.hold import CountState, Hold
from tidemill_inference.budgets.ports import Expected
from tidemill_inference.budgets.records import RecordedSpending
from tidemill_inference.budgets.sweep_holds import SweepHolds
from tidemill_inference.deployments.domain.choice import ChosenConfiguration
from tidemill_inference.deployments.domain.configuration import Retrieval
from tidemill_inference.generation.domain.bounds import expected
from tidemill_inference.generation.domain.content import Message, Part, Role, ToolCall, ToolResult
from tidemill_inference.generation.domain.inference import State
from tidemill_inference.generation.domain.question import Purpose
from tidemill_inference.generation.domain.tools import OutputFormat
from tidemill_inference.generation.ports import Finished, Started
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_testkit.polling import run_ready_tasks

CALL = ToolCall(id="x" * 5000, name="look")
RESULT = ToolResult(id="x" * 5000)


def only_state(harness: BudgetHarness) -> CountState:
    assert isinstance(harness.ledger, InMemoryLedger)
    (stored,) = harness.ledger.stored
    return harness.ledger.state_of(stored)


async def test_an_answer_is_charged_what_it_used_and_holds_nothing_afterwards() -> None:
    harness = BudgetHarness(budget(tokens=5000, requests=10))

    await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert only_state(harness).used == {"daily": {Kind.TOKENS: 15, Kind.REQUESTS: 1}}  # 10 input, 5 output
    assert only_state(harness).reserved == {}


async def test_the_store_is_called_once_before_an_answer_and_once_after_it_and_not_at_all_without_budgets() -> None:
    harness, free = BudgetHarness(budget(tokens=5000)), BudgetHarness(price(output="1"))

    await harness.answer.whole(ADA, question(), request=asking("r1"))
    await free.answer.whole(ADA, question(), request=asking("r1"))

    assert isinstance(harness.ledger, InMemoryLedger)
    assert isinstance(free.ledger, InMemoryLedger)
    assert (harness.ledger.calls, free.ledger.calls) == (2, 0)


async def test_a_call_beyond_the_limit_is_refused_before_anything_is_done_and_names_all_that_helps() -> None:
    harness = BudgetHarness(budget(requests=1))
    await harness.answer.whole(ADA, question(), request=asking("r1"))

    with pytest.raises(BudgetExhausted, match="budget daily limits requests to 1: 1 used") as refused:
        await harness.answer.whole(ADA, question(), request=asking("r2"))

    assert refused.value.metadata["reset"].endswith("T00:00:00Z")
    assert refused.value.retry_after_s > 60
    assert harness.engine.runs == 1
    assert len(harness.inferences.all()) == 1


async def test_an_answer_that_is_stored_is_returned_also_when_nothing_is_left() -> None:
    harness = BudgetHarness(budget(requests=1))
    first = await harness.answer.whole(ADA, question(), request=asking("r1"))

    again = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert again.output == first.output
    assert only_state(harness).used == {"daily": {Kind.REQUESTS: 1}}


async def test_a_retry_of_a_stored_answer_costs_nothing() -> None:
    harness = BudgetHarness(budget(requests=10))
    await harness.answer.whole(ADA, question(), request=asking("r1"))

    await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert only_state(harness).used == {"daily": {Kind.REQUESTS: 1}}


async def test_a_budget_that_is_used_up_in_the_middle_of_a_stream_finishes_it_and_begins_no_other() -> None:
    harness = BudgetHarness(budget(requests=1), engine=ScriptedEngine(free_words=1))
    harness.engine.gate.clear()
    steps = harness.answer(ADA, question(), request=asking("r1"))
    await anext(steps)

    with pytest.raises(BudgetExhausted) as refused:
        await harness.answer.whole(ADA, question(), request=asking("r2"))
    harness.engine.gate.set()

    assert refused.value.retry_after_s == 1  # the first one may yet need less than it has reserved
    assert isinstance([step async for step in steps][-1], Finished)
    assert (await harness.only_record()).state is State.COMPLETED


async def test_a_call_that_fails_before_a_model_is_asked_costs_nothing() -> None:
    harness = BudgetHarness(budget(requests=1))
    harness.registry.down = DependencyUnavailable("down", dependency="trainer")
    with pytest.raises(DependencyUnavailable):
        await harness.answer.whole(ADA, question(), request=asking("r1"))
    harness.registry.down = None

    await harness.answer.whole(ADA, question(), request=asking("r2"))

    assert only_state(harness).used == {"daily": {Kind.REQUESTS: 1}}


async def test_a_client_that_leaves_in_the_middle_pays_for_what_was_made() -> None:
    engine = ScriptedEngine(free_words=2)
    engine.gate.clear()
    harness = BudgetHarness(budget(tokens=5000), price(input="1", output="1"), engine=engine)
    steps = harness.answer(ADA, question(), request=asking("r1"))
    await anext(steps)
    await anext(steps)
    await steps.aclose()
    await run_ready_tasks()

    used = only_state(harness).used["daily"][Kind.TOKENS]
    record = await harness.only_record()

    assert 0 < used < 200
    assert only_state(harness).reserved == {}
    assert record.state is State.CANCELLED
    assert record.cost is not None
    assert record.cost.items[0].estimated


async def test_each_end_user_and_each_subject_has_a_count_and_others_are_not_hurt() -> None:
    harness = BudgetHarness(budget(per=Per.END_USER, requests=1))

    for name in ("ada", "bob"):
        await harness.answer.whole(ADA, question(end_user=name), request=asking(name))
    with pytest.raises(BudgetExhausted):
        await harness.answer.whole(ADA, question(end_user="ada"), request=asking("again"))
    await harness.answer.whole(ADA, question(), request=asking("anonymous"))  # no end user: not counted
    repeated = question(end_user="ada", purpose=Purpose.EVALUATION)
    await harness.answer.whole(ADA, repeated, request=asking("evaluation"))
    other = BudgetHarness(budget(per=Per.SUBJECT, requests=1))
    await other.answer.whole(ADA, question(), request=asking("r1"))
    with pytest.raises(BudgetExhausted):
        await other.answer.whole(ADA, question(), request=asking("r2"))
    await other.answer.whole(replace(ADA, subject="bob"), question(), request=asking("r3"))


async def test_a_budget_of_another_deployment_or_subject_does_not_apply() -> None:
    harness = BudgetHarness(
        budget("a", requests=1, deployment="other"), budget("b", requests=1, subject="another"), budget(requests=9)
    )

    for name in ("r1", "r2"):
        await harness.answer.whole(ADA, question(), request=asking(name))

    assert only_state(harness).used == {"daily": {Kind.REQUESTS: 2}}


async def test_the_count_begins_anew_with_its_window() -> None:
    harness = BudgetHarness(budget(window=Window.MINUTE, requests=1))
    await harness.answer.whole(ADA, question(), request=asking("r1"))
    with pytest.raises(BudgetExhausted):
        await harness.answer.whole(ADA, question(), request=asking("r2"))

    harness.clock.advance(timedelta(minutes=1))

    await harness.answer.whole(ADA, question(), request=asking("r2"))


async def test_money_is_reserved_at_the_price_of_the_dearest_model_that_may_answer() -> None:
    dear = BudgetHarness(
        budget(cost="0.01"), price(output="1"), price("big", output="1000"), big=ScriptedEngine(says="never asked")
    )
    cheap = BudgetHarness(budget(cost="0.01"), price(output="1"))

    await cheap.answer.whole(ADA, question(), request=asking("r1"))
    with pytest.raises(BudgetExhausted, match=r"limits cost to 0\.01: 0 used.*may need 0\.02;"):
        await dear.answer.whole(ADA, question(), request=asking("r1"))


async def test_a_model_without_a_price_is_refused_where_money_is_limited() -> None:
    harness = BudgetHarness(budget(cost="10"))

    with pytest.raises(PriceMissing, match="model smollm2@1 has no price"):
        await harness.answer.whole(ADA, question(), request=asking("r1"))


async def test_a_record_says_what_it_cost_by_which_price_with_all_attempts() -> None:
    broken = ScriptedEngine(fails_before=DependencyUnavailable("down", dependency="x"))
    harness = BudgetHarness(
        price(input="1", output="2"), price("big", input="10", output="20"), engine=broken, big=ScriptedEngine()
    )

    inference = await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert inference.cost is not None
    first, second = inference.cost.items
    assert (first.model, first.price, first.nanos) == ("smollm2@1", "smollm2", 0)
    assert (second.model, second.price, second.price_version) == ("big@1", "big", 1)
    assert (second.input_tokens, second.output_tokens) == (10, 5)
    assert inference.cost.amount == "0.0002"  # 10 at 10, and 5 at 20, a million
    assert (await harness.stored(inference)).cost == inference.cost


async def test_a_call_without_a_limit_of_tokens_gets_one_where_tokens_are_limited() -> None:
    harness = BudgetHarness(budget(tokens=50_000))
    deployment = await harness.deployments.get("acme", "helpdesk")
    configuration = deployment.live.steps[0]
    await harness.deployments.update(
        "acme",
        "helpdesk",
        lambda stored: setattr(
            stored,
            "live",
            replace(
                stored.live,
                steps=(replace(configuration, sampling=replace(configuration.sampling, max_output_tokens=None)),),
            ),
        ),
        request=asking("free"),
    )

    await harness.answer.whole(ADA, question(), request=asking("r1"))

    assert harness.engine.seen[0].sampling.max_output_tokens == 1000


async def test_clients_are_shown_the_tightest_limit_of_each_kind() -> None:
    harness = BudgetHarness(budget(requests=100, tokens=5000), budget("minutely", window=Window.MINUTE, requests=3))

    started = (await all_steps(harness.answer(ADA, question(), request=asking("r1"))))[0]

    assert isinstance(started, Started)
    assert started.limits is not None
    shown = dict(started.limits.headers())
    assert shown["x-ratelimit-limit-requests"] == "3"
    assert shown["x-ratelimit-remaining-requests"] == "2"
    assert shown["x-ratelimit-limit-tokens"] == "5000"
    assert shown["x-ratelimit-reset-requests"] == "1m0s"


async def test_the_first_refusal_in_a_window_is_an_event_and_further_ones_are_none() -> None:
    harness = BudgetHarness(budget(requests=1))
    await harness.answer.whole(ADA, question(), request=asking("r1"))

    for spending in (harness.answer.spending, harness.spending(), harness.spending()):
        replica = replace(harness.answer, spending=spending)
        for name in ("r2", "r3"):
            with pytest.raises(BudgetExhausted):
                await replica.whole(ADA, question(), request=asking(name))

    (event,) = harness.budgets.published
    assert isinstance(event, BudgetWasExhausted)
    assert (event.limited, event.limit) == ("requests", 1)


async def test_what_a_process_that_died_completed_is_charged_by_its_record_and_the_rest_in_full() -> None:
    harness = BudgetHarness(budget(tokens=50_000), price(output="1"))
    assert isinstance(harness.ledger, InMemoryLedger)
    charging, harness.ledger.charge = harness.ledger.charge, _never  # type: ignore[assignment, method-assign]
    inference = await harness.answer.whole(ADA, question(), request=asking("r1"))
    reserved = only_state(harness).reserved["daily"][Kind.TOKENS]
    lost = await harness.spending().begin(ADA, _expected())
    harness.ledger.charge = charging  # type: ignore[method-assign]
    sweep = SweepHolds(ledger=harness.ledger, records=RecordedSpending(harness.inferences), clock=harness.clock)
    assert await sweep.charge_ended() == 0
    harness.clock.advance(timedelta(minutes=10))

    assert await sweep.charge_ended() == 2
    assert await sweep.charge_ended() == 0

    assert inference.budget_hold
    assert lost.hold_id
    assert only_state(harness).used["daily"][Kind.TOKENS] == 15 + 100
    assert only_state(harness).reserved == {}
    assert reserved > 15


async def test_a_caller_that_leaves_while_it_reserves_holds_nothing() -> None:
    harness = BudgetHarness(budget(requests=1))
    assert isinstance(harness.ledger, InMemoryLedger)
    reserve, gate = harness.ledger.reserve, asyncio.Event()

    async def slow(hold: object) -> object:
        await gate.wait()
        return await reserve(hold)  # type: ignore[arg-type]

    harness.ledger.reserve = slow  # type: ignore[assignment, method-assign]
    begin = asyncio.create_task(harness.answer.spending.begin(ADA, _expected()))
    await run_ready_tasks()
    begin.cancel()
    await run_ready_tasks()
    gate.set()
    await run_ready_tasks()

    assert only_state(harness).used == {"daily": {Kind.REQUESTS: 0}}


async def _never(*_: object) -> None:
    """Does what a process does that died."""


def _expected() -> Expected:
    return Expected(
        inference="gone", deployment="helpdesk", models=("smollm2@1",), input_tokens=40, output_tokens=60, deadline_s=60
    )


async def test_a_caller_that_leaves_after_it_has_reserved_holds_nothing() -> None:
    harness = BudgetHarness(budget(requests=1))
    assert isinstance(harness.ledger, InMemoryLedger)
    reserve, spending = harness.ledger.reserve, harness.spending()

    async def unseen(hold: Hold) -> dict[str, CountState]:
        await reserve(hold)
        return {}  # as where several counts are reserved in one command

    async def hangs(_ids: object) -> dict[str, CountState]:
        await asyncio.Event().wait()
        return {}

    harness.ledger.reserve, harness.ledger.state = unseen, hangs  # type: ignore[assignment, method-assign]
    begin = asyncio.create_task(spending.begin(ADA, _expected()))
    await run_ready_tasks()
    begin.cancel()
    await run_ready_tasks()

    assert only_state(harness).used == {"daily": {Kind.REQUESTS: 0}}
    assert only_state(harness).reserved == {}


async def test_what_was_never_reserved_is_not_shown_as_given_back() -> None:
    harness = BudgetHarness(budget(requests=3))
    assert isinstance(harness.ledger, InMemoryLedger)
    spending, reserve = harness.spending(), harness.ledger.reserve
    await spending.begin(ADA, _expected())

    async def fails(_hold: object) -> None:
        message = "it is down"
        raise DependencyUnavailable(message, dependency="mongodb")

    async def unseen(hold: Hold) -> dict[str, CountState]:
        await reserve(hold)
        return {}

    harness.ledger.reserve = fails  # type: ignore[assignment, method-assign]
    with pytest.raises(DependencyUnavailable):
        await spending.begin(ADA, _expected())
    harness.ledger.reserve = unseen  # type: ignore[method-assign]
    spend = await spending.begin(ADA, _expected())

    assert spend.limits is not None
    assert spend.limits.limits[Kind.REQUESTS].remaining == 1


@pytest.mark.parametrize(
    "asked",
    [
        {"output": OutputFormat(description="x" * 5000)},
        {"messages": (*question().messages, Message(role=Role.ASSISTANT, parts=(Part(tool_call=CALL),)))},
        {"messages": (*question().messages, Message(role=Role.TOOL, parts=(Part(tool_result=RESULT),)))},
    ],
    ids=["output format", "call", "result"],
)
async def test_whatever_reaches_a_model_is_part_of_what_a_call_may_need(asked: dict[str, Any]) -> None:
    harness = BudgetHarness(budget(tokens=5000))
    deployment = helpdesk(**LIMITED)
    chosen = ChosenConfiguration(variant="live", configuration=deployment.live)

    needed = expected(replace(question(), **asked), chosen, PromptContent(user="{{ question }}"), deployment)
    with pytest.raises(BudgetExhausted):
        await harness.spending().begin(ADA, needed)


async def test_a_model_that_rewrites_questions_is_part_of_what_a_call_may_need() -> None:
    harness = BudgetHarness(budget(cost="1"), price(input="1"))
    plain, rewritten = (
        expected(
            question("x" * 1000),
            ChosenConfiguration(variant="live", configuration=deployment.live),
            PromptContent(user="{{ question }}"),
            deployment,
        )
        for deployment in (helpdesk(), helpdesk(retrieval=Retrieval(collection="handbook", rewrite="small@1")))
    )

    with pytest.raises(PriceMissing, match="small@1"):
        await harness.spending().begin(ADA, rewritten)

    assert rewritten.input_bytes - plain.input_bytes >= 1000
    await harness.spending().begin(ADA, plain)
