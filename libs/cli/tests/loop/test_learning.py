from datetime import timedelta
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict

from tidemill.evaluator.v1.evaluation_pb2 import Gate
from tidemill.trainer.v1.training_pb2 import TrainingPlan
from tidemill_cli.loop import LoopErrors, read_loop
from tidemill_cli.loop.declaration import Follow
from tidemill_cli.loop.resources import desired_resources


def problems(file: Path, *edits: tuple[str, str]) -> dict[str, str]:
    """Return what is wrong after some edits: message by path."""
    text = file.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    with pytest.raises(LoopErrors) as raised:
        read_loop(file)
    return {problem.path: problem.message for problem in raised.value.problems}


def test_a_whole_loop_is_read(file: Path) -> None:
    loop = read_loop(file)

    assert loop.deployments["helpdesk"].model == Follow(follow="helpdesk_lora", start_with="small")
    assert loop.datasets["helpdesk_sft"].publish.at_latest_every == timedelta(days=7)
    assert loop.training["helpdesk_lora"].limits.memory == 6 * 2**30
    assert loop.training["helpdesk_lora"].args["max_steps"] == 48
    assert [step.at_most for step in loop.rollouts["helpdesk"].steps] == [None, timedelta(hours=24)]
    cases = loop.suites["truth"].cases
    assert isinstance(cases, list)
    assert [case.id for case in cases] == ["q1", "q2"]


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("follow: helpdesk_lora", "follow: helpdesk_lore", "deployments.helpdesk.model.follow", "mean helpdesk_lora?"),
        ("start_with: small", "start_with: smal", "deployments.helpdesk.model.start_with", "did you mean small?"),
        ("dataset: helpdesk_sft\n", "dataset: sft\n", "training.helpdesk_lora.dataset", "there is no dataset 'sft'"),
        ("base: small", "base: smal", "training.helpdesk_lora.base", "did you mean small?"),
        ("candidate: helpdesk_lora", "candidate: small", "gates.helpdesk_gate.candidate", "there is no training"),
        ("suite: truth", "suite: trut", "gates.helpdesk_gate.require[1].cases.suite", "did you mean truth?"),
        ("gate: helpdesk_gate\n", "gate: gate\n", "rollouts.helpdesk.gate", "there is no gate 'gate'"),
        ("deployment: helpdesk\n", "deployment: desk\n", "rollouts.helpdesk.deployment", "did you mean helpdesk?"),
        ("deployment: helpdesk,", "deployment: x,", "datasets.helpdesk_sft.examples.deployment", "no deployment 'x'"),
    ],
)
def test_a_reference_to_nothing_is_reported_with_the_nearest_match(
    file: Path, old: str, new: str, path: str, message: str
) -> None:
    assert message in problems(file, (old, new))[path]


def test_a_reward_model_learns_from_preferences_and_answers_nowhere(file: Path) -> None:
    edits = [
        ("method: sft", "method: reward"),
        ("feedback: [correction]", "feedback: [correction], kind: preference"),
    ]

    found = problems(file, *edits)

    message = "helpdesk_lora is a reward model: it scores answers and generates none"
    assert found == {"deployments.helpdesk.model.follow": message, "gates.helpdesk_gate.candidate": message}


def test_rewards_of_generated_answers_are_declared_with_their_training(file: Path) -> None:
    rewards = "[{citation: true, weight: 0.5}, {length: {max_characters: 400}}, {json_schema: {a: 1}}]"
    text = file.read_text(encoding="utf-8").replace("method: sft", f"method: grpo\n    rewards: {rewards}")
    file.write_text(text, encoding="utf-8")

    (plan,) = (each.message for each in desired_resources(read_loop(file)) if each.kind == "training")

    assert isinstance(plan, TrainingPlan)
    assert [each.WhichOneof("kind") for each in plan.rewards] == ["citation", "length", "json_schema"]
    assert (plan.rewards[0].weight, plan.rewards[1].length.max_characters) == (0.5, 400)
    assert plan.rewards[2].json_schema == '{"a": 1}'


@pytest.mark.parametrize(
    ("training", "path", "message"),
    [
        (
            "method: grpo\n    rewards: [{judge: {id: tome}}]",
            "training.helpdesk_lora.rewards[0].judge.id",
            "there is no judge 'tome' in this file",
        ),
        ("method: grpo", "training.helpdesk_lora", "rewards belong to method: grpo, which needs at least one"),
        ("method: sft\n    rewards: [{citation: true}]", "training.helpdesk_lora", "rewards belong to method: grpo"),
        (
            "method: grpo\n    rewards: [{citation: true, rouge_l: true}]",
            "training.helpdesk_lora.rewards[0]",
            "has exactly one of reward_model, pattern, length",
        ),
        (
            "method: grpo\n    rewards: [{reward_model: judge}]",
            "training.helpdesk_lora.rewards[0].reward_model",
            "there is no training 'judge' in this file",
        ),
    ],
)
def test_rewards_that_cannot_be_given_are_reported(file: Path, training: str, path: str, message: str) -> None:
    assert message in problems(file, ("method: sft", training))[path]


def test_what_cases_cannot_share_is_reported(file: Path) -> None:
    first = "candidate: helpdesk_lora\n"
    text = file.read_text(encoding="utf-8")
    assert first in text
    file.write_text(text.replace(first, f"{first}    cluster_by: [document, labels.topic]\n"), encoding="utf-8")

    read_loop(file)

    assert any("cluster_by" in path for path in problems(file, ("labels.topic", "user")))


def test_processes_and_priority_of_a_training_are_declared(file: Path) -> None:
    more = "method: sft\n    processes: 2\n    priority: -3"
    file.write_text(file.read_text(encoding="utf-8").replace("method: sft", more), encoding="utf-8")

    (plan,) = (each.message for each in desired_resources(read_loop(file)) if each.kind == "training")

    assert isinstance(plan, TrainingPlan)
    assert (plan.processes, plan.priority) == (2, -3)


def test_a_training_may_be_taught_by_a_model_that_was_made_of_another_one(file: Path) -> None:
    text = file.read_text(encoding="utf-8").replace("method: sft", "method: distill\n    teacher: whole@2")
    file.write_text(f"{text}\nderived: {{whole: {{source: small}}}}\n", encoding="utf-8")

    (plan,) = (each.message for each in desired_resources(read_loop(file)) if each.kind == "training")

    assert isinstance(plan, TrainingPlan)
    assert (plan.method, plan.teacher) == ("distill", "whole@2")


@pytest.mark.parametrize(
    ("training", "path", "message"),
    [
        ("method: distill", "training.helpdesk_lora", "teacher belongs to method: distill, which needs one"),
        ("method: sft\n    teacher: small", "training.helpdesk_lora", "teacher belongs to method: distill"),
        ("method: distill\n    teacher: smal", "training.helpdesk_lora.teacher", "did you mean small?"),
    ],
)
def test_a_teacher_that_cannot_teach_is_reported(file: Path, training: str, path: str, message: str) -> None:
    assert message in problems(file, ("method: sft", training))[path]


def test_memory_may_be_left_to_the_trainer(file: Path) -> None:
    file.write_text(file.read_text(encoding="utf-8").replace("memory: 6Gi", "memory: auto"), encoding="utf-8")
    loop = read_loop(file)

    (plan,) = (each.message for each in desired_resources(loop) if each.kind == "training")

    assert isinstance(plan, TrainingPlan)
    assert (plan.limits.memory_auto, plan.limits.memory_bytes) == (True, 0)


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("6Gi", "6GB", "training.helpdesk_lora.limits.memory", "(512Mi, 6Gi), or auto"),
        ("30m", "30", "training.helpdesk_lora.limits.time", "whole number and a unit"),
        ("method: sft", "method: ppo", "training.helpdesk_lora.method", "'ppo' is not allowed"),
        ("method: sft", "method: dpo", "training.helpdesk_lora.method", "and helpdesk_sft has kind demonstration"),
        ("method: sft", "method: kto", "training.helpdesk_lora.method", "of kind unpaired_preference or preference"),
        ("[correction]", "[rating]", "datasets.helpdesk_sft.examples", "demonstration are made of feedback: [correct"),
        ("max_steps: 48", "max_steps: .inf", "training.helpdesk_lora.args", "max_steps: must be a number"),
        ("share: 0.3", "share: 1.5", "datasets.helpdesk_sft.held_out.share", "less than or equal to 0.9"),
        ("[correction]", "[corrections]", "datasets.helpdesk_sft.examples.feedback[0]", "did you mean correction?"),
        ("rouge_l, gain_above: 0.0", "rouge, gain_above: 0.0", "gates.helpdesk_gate.require[0].metric", "rouge_l?"),
        ("split: held_out", "split: train", "gates.helpdesk_gate.require[0].cases.split", "'train' is not allowed"),
        ("{suite: truth}", "{}", "gates.helpdesk_gate.require[1].cases", "either suite: NAME, or dataset"),
        (", split: held_out", "", "gates.helpdesk_gate.require[0].cases", "requires split: held_out"),
        ("weight: 50, ", "", "rollouts.helpdesk.steps[1]", "either shadow: true or weight: PERCENT"),
        ("at_least: 15", "at_least: 50", "rollouts.helpdesk.steps[1]", "more than requests (40)"),
        ("on_timeout: hold", "on_timeout: holt", "rollouts.helpdesk.on_timeout", "did you mean hold?"),
        ("start_with: small", "start: small", "deployments.helpdesk.model.start", "did you mean start_with?"),
    ],
)
def test_a_wrong_value_is_reported_where_it_stands(file: Path, old: str, new: str, path: str, message: str) -> None:
    found = problems(file, (old, new))

    assert path in found, found
    assert message in found[path]


def test_steps_out_of_order_are_refused(file: Path) -> None:
    found = problems(file, ("- {shadow: true, requests: 10}", "- {weight: 60, requests: 10}"))

    assert "weights must increase" in found["rollouts.helpdesk"]


METRICS = """\
metrics:
  helpful: {kind: boolean}
  outcome: {kind: category, choices: [bought, gone]}
  ended: {kind: category, choices: [bought, gone], good: [bought]}
  solved: {kind: boolean, optimise: max, level: conversation}
  kept: {kind: boolean, optimise: max, matures_after: 7d}
"""
RATED = "rating: {loss_above: 0.02}}"


def rule(metric: str, said: str = "loss_above: 0.05, at_least: 20") -> tuple[tuple[str, str], ...]:
    return (("metrics:\n", METRICS), (RATED, f"metrics: {{{metric}: {{{said}}}}}}}"))


@pytest.mark.parametrize(
    ("edits", "path", "message"),
    [
        (rule("reopend"), "rollouts.helpdesk.abort.metrics.reopend", "did you mean reopened?"),
        (rule("helpful"), "rollouts.helpdesk.abort.metrics.helpful", "say optimise: max or min"),
        (rule("outcome"), "rollouts.helpdesk.abort.metrics.outcome", "say good: [CHOICE] where it is"),
        (rule("solved"), "rollouts.helpdesk.abort.metrics.solved", "is about conversations"),
        (
            rule("kept"),
            "rollouts.helpdesk.abort.metrics.kept",
            "step 1 ends before that: its at_most is 1 day, 0:00:00",
        ),
        (rule("kept", "loss_above: 0.1"), "rollouts.helpdesk.abort.metrics.kept", "no step waits for its values"),
        (rule("reopened", ""), "rollouts.helpdesk.abort.metrics.reopened", "set loss_above, at_least, or both"),
        (rule("reopened", "loss: 0.1"), "rollouts.helpdesk.abort.metrics.reopened.loss", "loss_above?"),
    ],
)
def test_a_metric_that_a_rollout_cannot_read_is_reported(
    file: Path, edits: tuple[tuple[str, str], ...], path: str, message: str
) -> None:
    found = problems(file, *edits)

    assert path in found, found
    assert message in found[path]


def test_a_held_out_part_of_what_was_not_trained_on_is_refused(file: Path) -> None:
    other = "  other: {examples: {deployment: helpdesk, feedback: [correction]}, publish: {new_examples: 1}}\ntraining:"

    found = problems(file, ("training:", other), ("{dataset: helpdesk_sft", "{dataset: other"))

    assert "must be helpdesk_sft" in found["gates.helpdesk_gate.require[0].cases.dataset"]


def test_a_gate_that_belongs_to_no_deployment_is_refused(file: Path) -> None:
    text = file.read_text()
    file.write_text(text[: text.index("rollouts:")])

    found = problems(file, ("{follow: helpdesk_lora, start_with: small}", "small"))

    assert "has no deployment" in found["gates.helpdesk_gate"]


def test_a_gate_belongs_to_the_deployment_that_follows_its_candidate(file: Path) -> None:
    text = file.read_text()
    file.write_text(text[: text.index("rollouts:")])

    assert read_loop(file).gates


INDEX_GATE = """gates:
  index_gate:
    collection: handbook
    retrieval: {suite: questions, gain_above: -0.02}
    require:
      - {cases: {suite: truth}, metric: rouge_l, gain_above: -0.05}
"""


BY_ROLLOUT = ("{sources: [cms], embedding: small}", "{sources: [cms], embedding: small, go_live: by_rollout}")


def test_a_gate_of_index_versions_belongs_to_the_deployment_that_searches_the_collection(file: Path) -> None:
    file.write_text(file.read_text().replace("gates:\n", INDEX_GATE).replace(*BY_ROLLOUT))
    gates = {each.name: each for each in desired_resources(read_loop(file)) if each.kind == "gate"}

    gate = gates["index_gate"].message
    assert isinstance(gate, Gate)
    assert (gate.deployment, gate.collection, gate.candidate) == ("helpdesk", "handbook", "")
    assert (gate.retrieval.metric, gate.retrieval.gain_above, gate.retrieval.depth) == ("ndcg", -0.02, 10)


@pytest.mark.parametrize(
    ("old", "new", "path", "message"),
    [
        ("    collection: handbook\n", "", "gates.index_gate", "use either candidate: MODEL, or collection"),
        ("    retrieval: {suite", "    unknown: {suite", "gates.index_gate.unknown", "unknown key"),
        (
            "collection: handbook\n    retrieval",
            "collection: handbok\n    retrieval",
            "gates.index_gate.collection",
            "did you",
        ),
    ],
)
def test_a_wrong_gate_of_index_versions_is_reported(file: Path, old: str, new: str, path: str, message: str) -> None:
    found = problems(file, ("gates:\n", INDEX_GATE.replace(old, new)), BY_ROLLOUT)

    assert message in found[path]


@pytest.mark.parametrize("go_live", ["", ", go_live: when_complete"])
def test_a_gate_of_a_collection_that_goes_live_without_it_is_refused(file: Path, go_live: str) -> None:
    said = BY_ROLLOUT[0], BY_ROLLOUT[1].replace(", go_live: by_rollout", go_live)

    found = problems(file, ("gates:\n", INDEX_GATE), said)

    assert list(found) == ["gates.index_gate.collection"]
    assert "handbook goes live without this gate" in found["gates.index_gate.collection"]
    assert "add go_live: by_rollout to it" in found["gates.index_gate.collection"]


def test_a_rollout_that_could_not_move_its_deployment_is_refused(file: Path) -> None:
    found = problems(file, ("{follow: helpdesk_lora, start_with: small}", "small"))

    assert "use {follow: helpdesk_lora, start_with: small}" in found["deployments.helpdesk.model"]


def test_a_training_may_not_have_the_name_of_a_model(file: Path) -> None:
    found = problems(file, ("  small: {", "  helpdesk_lora: {source: 'openai:x', base_url: 'https://a'}\n  small: {"))

    assert "is the name of a model" in found["training.helpdesk_lora"]


SWEEP = """    sweep:
      search:
        args.learning_rate: {low: 1.0e-5, high: 1.0e-2, log: true}
        lora.r: [4, 8, 16]
        lora.target_modules: [all-linear, [q_proj, v_proj]]
      trials: 6
      parallel: 2
      keep_percent: 25
      budget: {time: 2h, cost: 5, price_per_hour: 2.5}
"""


def searching(file: Path, *edits: tuple[str, str]) -> Path:
    """Have the training search; edits are of the search."""
    search = SWEEP
    for old, new in edits:
        assert old in search
        search = search.replace(old, new)
    file.write_text(file.read_text().replace("    limits: {time: 30m, memory: 6Gi}\n", search))
    return file


def plan_of(file: Path) -> TrainingPlan:
    (plan,) = (each.message for each in desired_resources(read_loop(file)) if each.kind == "training")
    assert isinstance(plan, TrainingPlan)
    return plan


def test_a_training_may_declare_what_each_new_version_searches(file: Path) -> None:
    found = MessageToDict(plan_of(searching(file)).sweep)

    assert found["space"] == [
        {"setting": "args.learning_rate", "range": {"low": 1e-5, "high": 1e-2, "log": True}},
        {"setting": "lora.r", "choices": [4.0, 8.0, 16.0]},
        {"setting": "lora.target_modules", "choices": ["all-linear", ["q_proj", "v_proj"]]},
    ]
    assert (found["maxTrials"], found["maxParallel"], found["pruning"]["keepPercent"]) == (6, 2, 25.0)
    assert found["budget"] == {"time": "7200s", "cost": 5.0, "pricePerHour": 2.5}


def test_a_training_without_a_search_starts_runs(file: Path) -> None:
    assert not plan_of(file).HasField("sweep")


@pytest.mark.parametrize(
    ("given", "wrong", "field"),
    [
        ("lora.r: [4, 8, 16]", "lora.r: [4]", "lora.r"),
        ("{low: 1.0e-5, high: 1.0e-2, log: true}", "{low: 1.0e-5, log: true}", "args.learning_rate"),
        ("trials: 6", "trials: 0", "trials"),
        ("keep_percent: 25", "keep_percent: 0", "keep_percent"),
        ("parallel: 2", "paralel: 2", "paralel"),
        ("trials: 6", "trials: 3000000000", "trials"),
        ("trials: 6", "trials: 6\n      startup_trials: 3000000000", "startup_trials"),
        ("lora.r: [4, 8, 16]", f"lora.r: [4, 1{'0' * 400}]", "lora.r"),
        ("lora.r: [4, 8, 16]", "lora.r: [.inf, 1.0]", "lora.r"),
        ("high: 1.0e-2", "high: .inf", "args.learning_rate"),
        ("high: 1.0e-2", f"high: 1{'0' * 400}", "args.learning_rate"),
        ("high: 1.0e-2", "high: 1.0e-6", "args.learning_rate"),
        ("cost: 5,", "cost: .inf,", "cost"),
    ],
)
def test_what_no_sweep_could_search_is_a_problem_at_its_place(file: Path, given: str, wrong: str, field: str) -> None:
    found = problems(searching(file, (given, wrong)))

    assert all(path.startswith("training.helpdesk_lora.sweep") for path in found)
    assert any(field in path for path in found), found


def test_a_cost_without_a_price_is_a_problem(file: Path) -> None:
    found = problems(searching(file, ("cost: 5, price_per_hour: 2.5", "cost: 5")))

    assert [message for message in found.values() if "requires price_per_hour" in message]
