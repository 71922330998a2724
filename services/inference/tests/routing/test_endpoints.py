"""What is known of endpoints: their circuits, and for how many they are kept."""

import asyncio

import pytest

from services.inference.tests.routing.routed import Pauses, Routed, Slow, busy, down
from tidemill_core.errors import DependencyUnavailable, InvalidInput, PreconditionFailed, TidemillError
from tidemill_inference.routing.domain.errors import CircuitOpen
from tidemill_inference.routing.endpoints import Endpoints


async def test_a_model_that_failed_too_often_is_not_called_until_a_probe_is_answered() -> None:
    routed = Routed({"gpt@1": [down(), down(), "yes"], "small@1": "small"}, threshold=2)

    assert [await routed.ask("small@1") for _ in range(4)] == ["small"] * 4
    assert routed.calls.count("gpt@1") == 2
    assert routed.outcomes == [("gpt@1", "first", "CIRCUIT_OPEN"), ("small@1", "fallback", "ANSWERED")]
    assert routed.warnings == ["fallback used: gpt@1 failed (CIRCUIT_OPEN)"]

    routed.ahead_s = 31
    assert await routed.ask("small@1") == "yes"
    assert routed.observed.circuits == [("gpt@1", True), ("gpt@1", False)]


async def test_without_a_fallback_an_open_circuit_fails_at_once_and_says_for_how_long() -> None:
    routed = Routed({"gpt@1": down()}, threshold=1, retries=2)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()

    with pytest.raises(CircuitOpen) as raised:
        await routed.ask()

    assert (routed.calls, routed.pauses) == (["gpt@1"], [0.5])  # the pause is that of the first question
    assert 0 < float(raised.value.metadata["retry_after_s"]) <= 30


async def test_one_of_equal_models_whose_circuit_is_open_comes_last() -> None:
    routed = Routed({"gpt@1": down(), "gpt_eu@1": "eu"}, threshold=1)
    for _ in range(20):
        assert await routed.ask(equals={"gpt_eu@1": 1}) == "eu"

    assert routed.calls.count("gpt@1") == 1
    assert routed.outcomes == [("gpt_eu@1", "first", "ANSWERED")]


async def test_the_first_token_of_a_probe_lets_others_pass_before_it_has_ended() -> None:
    routed = Routed({"gpt@1": [down(), Pauses(), "yes"]}, threshold=1)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()
    routed.ahead_s = 31
    probe = asyncio.create_task(routed.ask())
    await routed.has_called(2)
    await asyncio.sleep(0)

    assert await routed.ask() == "yes"
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe


async def test_a_probe_whose_client_leaves_gives_its_place_to_the_next() -> None:
    routed = Routed({"gpt@1": [down(), Slow(), "yes"]}, threshold=1)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()
    routed.ahead_s = 31
    probe = asyncio.create_task(routed.ask())
    await routed.has_called(2)
    with pytest.raises(CircuitOpen):
        await routed.ask()
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe

    assert await routed.ask() == "yes"


async def test_models_in_this_process_have_no_circuit() -> None:
    routed = Routed({"gpt@1": [down(), "yes"]}, local="gpt@1", threshold=1)
    with pytest.raises(DependencyUnavailable):
        await routed.ask()

    assert await routed.ask() == "yes"


@pytest.mark.parametrize("error", [busy(), PreconditionFailed("no key"), InvalidInput("no")])
async def test_what_an_endpoint_refuses_opens_no_circuit(error: TidemillError) -> None:
    routed = Routed({"gpt@1": error}, threshold=1)

    for _ in range(3):
        with pytest.raises(type(error)):
            await routed.ask()


async def test_an_endpoint_that_says_nothing_until_the_deadline_has_failed() -> None:
    routed = Routed({"gpt@1": Slow()}, threshold=1)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await routed.ask(deadline_s=0.05)
    with pytest.raises(CircuitOpen):
        await routed.ask()


async def test_circuits_of_two_replicas_and_of_two_projects_are_independent() -> None:
    one, other = Routed({"gpt@1": down()}, threshold=1), Routed({"gpt@1": "yes"}, threshold=1)
    with pytest.raises(DependencyUnavailable):
        await one.ask()

    assert await other.ask() == "yes"
    assert one.endpoints.of("acme", "gpt@1").circuit.is_open
    assert not one.endpoints.of("shop", "gpt@1").circuit.is_open


async def test_a_deleted_project_is_forgotten_with_its_series() -> None:
    routed = Routed({"gpt@1": "yes"})
    await routed.ask()

    assert routed.endpoints.projects == {"acme"}
    assert await routed.endpoints.forget("acme") == 1
    assert routed.endpoints.projects == set()
    assert routed.observed.forgotten == ["gpt@1"]


def test_a_bounded_number_of_models_is_known_and_the_project_with_most_loses_first() -> None:
    routed = Routed({})
    endpoints = Endpoints(routed.observed, threshold=1, open_s=1, max_kept=3)
    endpoints.of("shop", "a@1")
    for number in range(10):
        endpoints.of("acme", f"m@{number}")

    assert endpoints.projects == {"acme", "shop"}
    assert len(routed.observed.forgotten) == 8
