import pytest

from services.evaluator.tests.builders import ADA, TUNED, gate_of, request, write
from services.evaluator.tests.harness import Evaluator
from tidemill_core.application import Caller, Page, Request
from tidemill_core.errors import AlreadyExists, Conflict, InvalidInput, NotFound, RequestIdReused
from tidemill_evaluator.errors import (
    CandidateNotReady,
    EvaluationFinished,
    EvaluationNotFound,
    GateNotFound,
    SuiteNotFound,
)
from tidemill_evaluator.evaluations.domain.evaluation import EvaluationHasFailed
from tidemill_evaluator.evaluations.domain.job import State
from tidemill_evaluator.evaluations.ports import Version
from tidemill_evaluator.evaluations.start_evaluation import StartCommand
from tidemill_evaluator.gates.domain.gate import Gate


async def change(evaluator: Evaluator, gate: Gate, *fields: str, etag: str = "") -> Gate:
    return await evaluator.gate_crud.update(ADA, gate, frozenset(fields), write(etag=etag))


async def test_a_registered_version_is_evaluated_by_every_gate_that_asks_for_its_model() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate(name="one")
    await evaluator.with_gate(name="two")
    await evaluator.with_gate(name="other", candidate="another")

    await evaluator.register()

    started = await evaluator.all()
    assert sorted(each.gate for each in started) == ["one", "two"]
    assert {(each.candidate, each.state, each.dataset_version) for each in started} == {(TUNED, State.QUEUED, "sft@2")}
    assert evaluator.enqueue.enqueued == 2


async def test_the_same_registration_again_starts_nothing_and_the_next_version_does() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()

    for version in (TUNED, TUNED, "lora@2", TUNED):
        await evaluator.register(version)

    assert sorted(each.candidate for each in await evaluator.all()) == ["lora@1", "lora@2"]


async def test_a_registration_that_comes_after_the_evaluation_has_gone_on_starts_nothing() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()
    await evaluator.register()
    (evaluation,) = await evaluator.all()
    for _ in range(60):  # more than the requests that an aggregate remembers
        await evaluator.evaluations.update("acme", evaluation.id, lambda e: e.wait("", epoch=0), request=request())

    await evaluator.register()

    assert len(await evaluator.all()) == 1


async def test_a_deleted_gate_starts_none() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()
    await evaluator.gate_crud.delete(ADA, "gate", write())

    await evaluator.register()

    assert await evaluator.all() == []


async def test_a_gate_that_is_deleted_while_a_version_is_received_keeps_it_from_no_other_gate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluator = Evaluator()
    await evaluator.with_gate(name="gone", paused=True)
    await evaluator.with_gate(name="other")
    listed = evaluator.gates.list

    async def deleted_once_listed(project: str, **options: object) -> Page[Gate]:
        found = await listed(project, **options)  # type: ignore[arg-type] # passed on
        await evaluator.gate_crud.delete(ADA, "gone", write())
        return found

    monkeypatch.setattr(evaluator.gates, "list", deleted_once_listed)
    await evaluator.register()

    assert [each.gate for each in await evaluator.all()] == ["other"]


async def test_a_paused_gate_starts_none_and_the_newest_candidate_that_came_meanwhile_when_it_goes_on() -> None:
    evaluator = Evaluator()
    gate = await evaluator.with_gate(paused=True)
    for version in (TUNED, "lora@10", "lora@2"):
        await evaluator.register(version)
    assert await evaluator.all() == []

    gate.paused = False
    going_on = await change(evaluator, gate, "paused")

    assert [(each.candidate, each.dataset_version) for each in await evaluator.all()] == [("lora@10", "sft@2")]
    assert (going_on.paused, going_on.deferred_evaluation) == (False, None)
    await evaluator.register("lora@10")
    assert len(await evaluator.all()) == 1


async def test_a_gate_that_goes_on_for_another_model_has_nothing_deferred_of_the_one_before() -> None:
    evaluator = Evaluator()
    gate = await evaluator.with_gate(paused=True)
    await evaluator.register("lora@2")

    gate.candidate, gate.paused = "another", False
    assert (await change(evaluator, gate, "candidate", "paused")).deferred_evaluation is None
    assert await evaluator.all() == []

    gate.candidate, gate.paused = "lora", True
    await change(evaluator, gate, "candidate", "paused")
    await evaluator.register("lora@3")
    gate.candidate = "another"
    await change(evaluator, gate, "candidate")
    await evaluator.register("another@1")
    gate.paused = False
    await change(evaluator, gate, "paused")
    assert [each.candidate for each in await evaluator.all()] == ["another@1"]


async def test_the_next_attempt_of_an_evaluation_whose_gate_was_paused_meanwhile_starts_when_it_goes_on() -> None:
    evaluator = Evaluator()
    gate = await evaluator.with_gate()
    await evaluator.register()
    (first,) = await evaluator.all()
    gate.paused = True
    await change(evaluator, gate, "paused")
    await evaluator.triggers.baseline_changed(ADA, first.id)
    assert await evaluator.all() == [first]

    gate.paused = False
    await change(evaluator, gate, "paused")

    assert sorted((each.candidate, each.attempt) for each in await evaluator.all()) == [(TUNED, 1), (TUNED, 2)]


async def test_a_gate_is_found_by_the_candidate_that_it_has_now() -> None:
    evaluator = Evaluator()
    gate = await evaluator.with_gate(candidate="another")
    gate.candidate = "lora"
    await change(evaluator, gate, "candidate")

    await evaluator.register("another@1")
    assert await evaluator.all() == []
    await evaluator.register()
    assert len(await evaluator.all()) == 1


async def test_gates_of_projects_are_apart() -> None:
    evaluator = Evaluator()
    await evaluator.with_gate()

    await evaluator.register(project="globex")

    assert await evaluator.all("globex") == []


async def test_a_gate_is_checked_before_it_is_stored_and_validating_stores_nothing() -> None:
    evaluator = Evaluator()
    with pytest.raises(InvalidInput):
        await evaluator.with_gate(name="No Slug")
    await evaluator.gate_crud.create(ADA, gate_of(), write(validate_only=True))
    with pytest.raises(GateNotFound):
        await evaluator.gates.get("acme", "gate")

    gate = await evaluator.with_gate()
    with pytest.raises(AlreadyExists):
        await evaluator.gate_crud.create(ADA, gate_of(), write(validate_only=True))
    gate.confidence = 2.0
    with pytest.raises(InvalidInput):
        await change(evaluator, gate, "confidence")
    gate.confidence = 0.9
    with pytest.raises(Conflict):
        await change(evaluator, gate, "confidence", etag="7")
    assert (await change(evaluator, gate, "confidence", etag="1")).confidence == 0.9


async def test_by_hand_the_same_request_starts_one_evaluation() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    command = StartCommand(candidate=TUNED, deployment="helpdesk", suites=["truth"], request=request("r1"))

    first, again = [await evaluator.start(ADA, command) for _ in range(2)]

    assert first == again
    assert len(await evaluator.all()) == 1
    with pytest.raises(RequestIdReused):
        await evaluator.start(
            ADA,
            StartCommand(candidate=TUNED, deployment="helpdesk", suites=["truth"], request=Request.of("r1", b"other")),
        )


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"candidate": "lora"}, "candidate"),
        ({"candidate": TUNED, "gate": "gate", "suites": ["truth"]}, "suites"),
        ({"candidate": TUNED, "gate": "gate", "baseline": "smollm2@1"}, "baseline"),
        ({"candidate": "smollm2@1", "gate": "gate"}, "candidate"),
        ({"candidate": TUNED, "deployment": "helpdesk"}, "suites"),
        ({"candidate": TUNED, "suites": ["truth"]}, "deployment"),
        ({"candidate": TUNED, "deployment": "helpdesk", "suites": ["truth"], "baseline": "smollm2"}, "baseline"),
    ],
)
async def test_what_cannot_be_compared_is_refused_by_its_field(fields: dict[str, str], named: str) -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_gate()

    with pytest.raises(InvalidInput) as refused:
        await evaluator.start(ADA, StartCommand(**fields, request=request()))  # type: ignore[arg-type] # parametrized

    assert named in [violation.field for violation in refused.value.violations]


async def test_what_is_not_there_is_named_and_nothing_starts() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    evaluator.models.versions["lora@9"] = Version(ready=False, dataset_version="")

    with pytest.raises(GateNotFound):
        await evaluator.start(ADA, StartCommand(candidate=TUNED, gate="none", request=request()))
    with pytest.raises(SuiteNotFound):
        await evaluator.by_hand(suites=["none"])
    for candidate, deployment, error in (
        ("lora@9", "helpdesk", CandidateNotReady),
        ("lora@7", "helpdesk", NotFound),
        (TUNED, "nowhere", NotFound),
    ):
        command = StartCommand(candidate=candidate, deployment=deployment, suites=["truth"], request=request())
        with pytest.raises(error):
            await evaluator.start(ADA, command)

    assert await evaluator.all() == []


async def test_a_paused_gate_may_be_asked_by_hand() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_gate(paused=True)

    started = await evaluator.start(ADA, StartCommand(candidate=TUNED, gate="gate", request=request()))

    assert (started.gate, started.comparing.deployment) == ("gate", "helpdesk")


async def test_an_evaluation_is_cancelled_once_and_a_finished_one_is_not() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    started = await evaluator.by_hand()

    await evaluator.evaluation_crud.cancel(ADA, started.id, request=request())
    cancelled = await evaluator.evaluation_crud.cancel(ADA, started.id, request=request())
    assert (cancelled.state, cancelled.reason) == (State.CANCELLED, "CANCELLED")
    assert [type(event) for event in evaluator.evaluations.published] == [EvaluationHasFailed]

    other = await evaluator.finish(await evaluator.by_hand())
    assert other.state is State.COMPLETED
    with pytest.raises(EvaluationFinished):
        await evaluator.evaluation_crud.cancel(ADA, other.id, request=request())
    with pytest.raises(EvaluationNotFound):
        await evaluator.evaluation_crud.cancel(ADA, "none", request=request())


async def test_who_starts_an_evaluation_is_its_requester_and_that_of_its_further_attempts() -> None:
    evaluator = Evaluator()
    await evaluator.with_suite()
    await evaluator.with_gate()
    eva = Caller(project="acme", subject="user:eva", credential="jti-1")
    command = StartCommand(candidate=TUNED, gate="gate", request=request("r1"))

    first = await evaluator.start(eva, command)
    await change(evaluator, gate_of(paused=True), "paused")
    await evaluator.triggers.again(Caller(project="acme"), first)
    await change(evaluator, gate_of(paused=False), "paused")
    unproven = await evaluator.start(ADA, StartCommand(candidate=TUNED, gate="gate", request=request("r2")))

    requesters = {each.attempt: each.requester for each in await evaluator.all() if each.id != unproven.id}
    assert requesters == {1: "user:eva", 2: "user:eva"}
    assert unproven.requester == ""
