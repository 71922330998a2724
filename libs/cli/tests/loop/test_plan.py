from pathlib import Path

import pytest

from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1.evaluation_pb2 import Gate
from tidemill.evaluator.v1.judge_pb2 import Judge
from tidemill.inference.v1.rollout_pb2 import OnTimeout, StickyBy
from tidemill_cli.loop import Loop, read_loop
from tidemill_cli.loop.changes import Action, Change
from tidemill_cli.loop.plan import ApplyFailed, Planner
from tidemill_client.connection import Connection
from tidemill_core.errors import InvalidInput

READ: dict[tuple[str, ...], Loop] = {}
"""Loops by the texts of their files: most tests begin with the same ones."""


def planner(connection: Connection, file: Path) -> Planner:
    texts = tuple(each.read_text(encoding="utf-8") for each in (file, file.parent / "truth.jsonl"))
    if texts not in READ:
        READ[texts] = read_loop(file)
    return Planner(connection, READ[texts])


def changed(changes: list[Change]) -> list[tuple[str, str, Action]]:
    return [(change.kind, change.name, change.action) for change in changes if change.action is not Action.NONE]


def edited(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def cut(file: Path, section: str) -> None:
    text = file.read_text()
    file.write_text(text[: text.index(section)])


async def test_everything_is_applied_in_order_of_dependency(
    connection: Connection, running: Running, file: Path
) -> None:
    changes = await planner(connection, file).apply()

    assert changed(changes) == [
        (kind, name, Action.CREATE)
        for kind, name in (
            ("model", "small"),
            ("source", "cms"),
            ("collection", "handbook"),
            ("prompt", "answer"),
            ("deployment", "helpdesk"),
            ("price", "own"),
            ("budget", "daily"),
            ("metric", "reopened"),
            ("review_queue", "answers"),
            ("dataset", "helpdesk_sft"),
            ("curation", "helpdesk_sft"),
            ("training", "helpdesk_lora"),
            ("suite", "truth"),
            ("judge", "tone"),
            ("gate", "helpdesk_gate"),
            ("experiment", "tone"),
            ("rollout", "helpdesk"),
        )
    ]
    stored = {name: next(iter(keeper.stored.values())) for name, keeper in running.keepers.items()}
    owned = {name: dict(message.labels) for name, message in stored.items()}
    assert owned == {name: {"team": "support", "tidemill.dev/loop": "helpdesk"} for name in stored}
    assert running.models["small"]["tidemill.dev/loop"] == "helpdesk"


async def test_each_service_gets_what_the_file_says(connection: Connection, running: Running, file: Path) -> None:
    await planner(connection, file).apply()

    deployment = running.keepers["deployment"].stored["helpdesk"]
    assert (deployment.model, deployment.follow) == ("small", "helpdesk_lora")
    assert [(s.shadow, s.weight, s.requests) for s in deployment.rollout_policy.steps] == [
        (True, 0, 10),
        (False, 50, 40),
    ]
    policy = deployment.rollout_policy
    assert policy.abort.rating_loss_above == 0.02
    assert (policy.sticky_by, policy.on_timeout) == (StickyBy.STICKY_BY_END_USER, OnTimeout.ON_TIMEOUT_HOLD)
    curation = running.keepers["curation"].stored["helpdesk_sft"]
    assert (curation.dataset, curation.deployment, curation.new_examples) == ("helpdesk_sft", "helpdesk", 100)
    assert curation.at_latest_every.ToTimedelta().days == 7
    plan = running.keepers["training"].stored["helpdesk_lora"]
    assert plan.limits.memory_bytes == 6 * 2**30
    assert dict(plan.args) == {"learning_rate": 1e-3, "max_steps": 48, "seed": 7}
    assert plan.lora["target_modules"] == "all-linear"
    gate = running.keepers["gate"].stored["helpdesk_gate"]
    assert gate.deployment == "helpdesk"
    assert [(r.WhichOneof("cases"), r.at_least, r.gain_above) for r in gate.require] == [
        ("dataset", 40, 0.0),
        ("suite", 0, -0.02),
    ]
    suite = running.keepers["suite"].stored["truth"]
    assert [(case.id, dict(case.labels)) for case in suite.cases] == [("q1", {"of": "builtins"}), ("q2", {})]


async def test_the_words_of_a_rollout_are_values_of_the_contract(
    connection: Connection, running: Running, file: Path
) -> None:
    edited(file, "sticky_by: end_user", "sticky_by: request")
    edited(file, "on_timeout: hold", "on_timeout: roll_back")
    await planner(connection, file).apply()

    policy = running.keepers["deployment"].stored["helpdesk"].rollout_policy
    assert (policy.sticky_by, policy.on_timeout) == (StickyBy.STICKY_BY_REQUEST, OnTimeout.ON_TIMEOUT_ROLL_BACK)


async def test_the_metrics_that_a_rollout_reads_are_in_its_policy_and_may_be_new_with_it(
    connection: Connection, running: Running, file: Path
) -> None:
    edited(file, "rating: {loss_above: 0.02}}", "metrics: {reopened: {loss_above: 0.05, at_least: 20}}}")
    await planner(connection, file).apply()

    (rule,) = running.keepers["deployment"].stored["helpdesk"].rollout_policy.abort.metrics
    assert (rule.metric, rule.loss_above, rule.at_least) == ("reopened", 0.05, 20)
    assert changed(await planner(connection, file).diff()) == []


async def test_the_same_file_again_changes_nothing(connection: Connection, running: Running, file: Path) -> None:
    await planner(connection, file).apply()
    running.writes()

    assert changed(await planner(connection, file).diff()) == []
    assert changed(await planner(connection, file).apply()) == []
    assert running.writes() == {}


async def test_after_a_promotion_the_same_file_changes_nothing(
    connection: Connection, running: Running, file: Path
) -> None:
    await planner(connection, file).apply()
    deployment = running.keepers["deployment"].stored["helpdesk"]
    deployment.live.model, deployment.live.digest = "helpdesk_lora@1", "d2"
    deployment.rollout.id = "r1"
    running.writes()

    assert changed(await planner(connection, file).apply()) == []
    assert running.writes() == {}


async def test_another_prompt_is_seen_while_a_model_is_followed(
    connection: Connection, running: Running, file: Path
) -> None:
    await planner(connection, file).apply()
    running.keepers["deployment"].stored["helpdesk"].live.prompt = "answer@0"

    assert ("deployment", "helpdesk", Action.UPDATE) in changed(await planner(connection, file).diff())


async def test_a_pause_is_not_undone_by_applying(connection: Connection, running: Running, file: Path) -> None:
    await planner(connection, file).apply()
    running.keepers["curation"].stored["helpdesk_sft"].paused = True
    running.keepers["deployment"].stored["helpdesk"].rollouts_paused = True
    assert changed(await planner(connection, file).apply()) == []

    edited(file, "requests: 40", "requests: 60")
    edited(file, "new_examples: 100", "new_examples: 120")
    await planner(connection, file).apply()

    assert running.keepers["deployment"].stored["helpdesk"].rollout_policy.steps[1].requests == 60
    assert running.keepers["deployment"].stored["helpdesk"].rollouts_paused
    assert running.keepers["curation"].stored["helpdesk_sft"].paused


async def test_only_what_differs_is_sent(connection: Connection, running: Running, file: Path) -> None:
    await planner(connection, file).apply()
    running.writes()
    edited(file, "max_steps: 48", "max_steps: 60")
    edited(file.parent / "truth.jsonl", "Return the absolute", "The absolute")

    changes = await planner(connection, file).apply()

    assert changed(changes) == [("training", "helpdesk_lora", Action.UPDATE), ("suite", "truth", Action.UPDATE)]
    assert running.writes() == {"training": ["helpdesk_lora"], "suite": ["truth"]}
    details = {change.kind: change.details for change in changes}
    assert details["training"]["args"][1] == {"learning_rate": 1e-3, "max_steps": 60.0, "seed": 7.0}
    assert details["suite"]["cases"] == ("2 cases", "2 cases: 0 new, 0 gone, 1 changed")


async def test_a_dataset_s_approval_is_declared_changed_and_equal_to_its_default(
    connection: Connection, running: Running, file: Path
) -> None:
    await planner(connection, file).apply()
    assert not changed(await planner(connection, file).diff())
    edited(file, "held_out: {", "approval: {role: reviewer, count: 2}\n    held_out: {")

    changes = await planner(connection, file).apply()

    assert changed(changes) == [("dataset", "helpdesk_sft", Action.UPDATE)]
    approval = running.keepers["dataset"].stored["helpdesk_sft"].approval
    assert (approval.role, approval.count) == ("reviewer", 2)


async def test_a_diff_reports_no_more_than_applying_does(connection: Connection, file: Path) -> None:
    await planner(connection, file).apply()
    edited(file, "share: 0.3", "share: 0.4")
    edited(file, "confidence: 0.95", "confidence: 0.9")

    changes = changed(await planner(connection, file).diff())

    assert changes == [("dataset", "helpdesk_sft", Action.UPDATE), ("gate", "helpdesk_gate", Action.UPDATE)]
    assert changed(await planner(connection, file).apply()) == changes


async def test_what_the_file_no_longer_declares_is_an_orphan_until_it_is_pruned(
    connection: Connection, running: Running, file: Path
) -> None:
    await planner(connection, file).apply()
    running.writes()
    cut(file, "datasets:")
    edited(file, "{follow: helpdesk_lora, start_with: small}", "small")
    gone = [
        ("dataset", "helpdesk_sft"),
        ("curation", "helpdesk_sft"),
        ("training", "helpdesk_lora"),
        ("suite", "truth"),
        ("judge", "tone"),
        ("gate", "helpdesk_gate"),
        ("experiment", "tone"),
        ("rollout", "helpdesk"),
    ]

    kept = changed(await planner(connection, file).apply())
    assert kept[1:] == [(kind, name, Action.ORPHAN) for kind, name in gone]
    assert not any(entry.startswith("-") for entries in running.writes().values() for entry in entries)

    pruned = changed(await planner(connection, file).apply(prune=True))
    assert pruned == [(kind, name, Action.DELETE) for kind, name in gone]
    assert not running.keepers["deployment"].stored["helpdesk"].HasField("rollout_policy")
    assert running.writes()["gate"] == ["-helpdesk_gate"]


async def test_a_jury_is_pruned_before_its_members_whichever_was_there_first(
    connection: Connection, running: Running, file: Path
) -> None:
    labels = {"tidemill.dev/loop": "helpdesk"}
    running.keepers["judge"].stored["all"] = Judge(id="all", labels=labels, members=["late", "tone"])
    running.keepers["judge"].stored["late"] = Judge(id="late", labels=labels, deployment="helpdesk")

    await planner(connection, file).apply(prune=True)

    assert [entry for entry in running.writes()["judge"] if entry.startswith("-")] == ["-all", "-late"]


async def test_a_refusal_names_the_part_and_what_was_applied_before(
    connection: Connection, running: Running, file: Path
) -> None:
    running.keepers["training"].refused = InvalidInput("plan.args.max_steps: is 48; write at most 40")

    with pytest.raises(ApplyFailed, match=r"training helpdesk_lora: plan\.args\.max_steps.*curation helpdesk_sft"):
        await planner(connection, file).apply()


async def test_what_only_another_loop_declared_is_left_alone(
    connection: Connection, running: Running, file: Path
) -> None:
    running.keepers["gate"].stored["other"] = Gate(id="other", labels={"tidemill.dev/loop": "sales"})

    assert all(change.name != "other" for change in await planner(connection, file).apply(prune=True))
    assert "other" in running.keepers["gate"].stored


async def test_the_approval_policy_of_a_model_is_declared_and_taken_back(
    connection: Connection, running: Running, file: Path
) -> None:
    await planner(connection, file).apply()
    model = 'base_url: "https://api.example/v1"'
    edited(file, model, f"{model}, approval: {{count: 2}}")

    for changes in (await planner(connection, file).diff(), await planner(connection, file).apply()):
        assert changed(changes) == [("model", "small", Action.UPDATE)]
    assert (running.policies["small"].role, running.policies["small"].count) == ("operator", 2)
    assert not changed(await planner(connection, file).diff())

    edited(file, ", approval: {count: 2}", "")
    await planner(connection, file).apply()
    assert running.policies["small"].count == 0
