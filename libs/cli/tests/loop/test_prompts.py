"""Prompts that go live by rollout, in loop.yaml: their gates, rollouts and plans."""

from pathlib import Path

import pytest

from libs.cli.tests.loop.running import Running
from libs.cli.tests.loop.test_learning import problems
from tidemill.evaluator.v1.evaluation_pb2 import Gate
from tidemill.inference.v1.deployment_pb2 import Deployment, PromptGoLive
from tidemill_cli.loop import LoopErrors, read_loop
from tidemill_cli.loop.changes import Action
from tidemill_cli.loop.plan import Planner
from tidemill_cli.loop.resources import desired_resources
from tidemill_cli.loop.turning import rollout_policy
from tidemill_client.connection import Connection

BY_ROLLOUT = ("    prompt: answer\n", "    prompt: {name: answer, go_live: by_rollout}\n")
GATED = (
    "gates:\n",
    """gates:
  prompt_gate:
    candidate_prompt: answer
    require:
      - {cases: {suite: truth}, metric: rouge_l, gain_above: -0.02}
      - {cases: {dataset: helpdesk_sft, split: held_out}, metric: rouge_l, gain_above: 0.0}
""",
)
ROLLED = ("    gate: helpdesk_gate\n", "    gate: helpdesk_gate\n    prompt_gate: prompt_gate\n")


def changed(file: Path, *edits: tuple[str, str]) -> Path:
    text = file.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    file.write_text(text)
    return file


def test_a_prompt_goes_live_by_the_rollout_of_its_deployment(file: Path) -> None:
    loop = read_loop(changed(file, BY_ROLLOUT, GATED, ROLLED))
    found = {(each.kind, each.name): each.message for each in desired_resources(loop)}

    gate, deployment = found["gate", "prompt_gate"], found["deployment", "helpdesk"]
    assert isinstance(gate, Gate)
    assert isinstance(deployment, Deployment)
    assert (gate.deployment, gate.candidate_prompt, gate.candidate) == ("helpdesk", "answer", "")
    assert (deployment.prompt, deployment.prompt_go_live) == ("answer", PromptGoLive.PROMPT_GO_LIVE_BY_ROLLOUT)
    assert rollout_policy(loop.rollouts["helpdesk"]).prompt_gate == "prompt_gate"


def test_a_rollout_of_prompts_alone_follows_no_model(file: Path) -> None:
    alone = ("    gate: helpdesk_gate\n", "    prompt_gate: prompt_gate\n")
    plain = ("{follow: helpdesk_lora, start_with: small}", "small")
    text = changed(file, BY_ROLLOUT, GATED, alone, plain).read_text()
    first = text.index("  helpdesk_gate:\n")
    file.write_text(text[:first] + text[text.index("rollouts:\n") :])

    policy = rollout_policy(read_loop(file).rollouts["helpdesk"])

    assert (policy.gate, policy.prompt_gate) == ("", "prompt_gate")


@pytest.mark.parametrize(
    ("edits", "path", "message"),
    [
        ([GATED, ROLLED], "rollouts.helpdesk.prompt_gate", "go_live: by_rollout}"),
        ([BY_ROLLOUT, GATED], "rollouts.helpdesk", "add prompt_gate: GATE to it"),
        (
            [BY_ROLLOUT, GATED, ("    gate: helpdesk_gate\n", "    prompt_gate: prompt_gate\n")],
            "rollouts.helpdesk",
            "new versions of helpdesk_lora go live by this rollout: add gate: GATE to it",
        ),
        ([BY_ROLLOUT, ROLLED], "rollouts.helpdesk.prompt_gate", "there is no gate 'prompt_gate'"),
        ([GATED], "gates.prompt_gate", "has no deployment"),
        (
            [BY_ROLLOUT, GATED, (ROLLED[0], "    gate: prompt_gate\n    prompt_gate: prompt_gate\n")],
            "rollouts.helpdesk.gate",
            "use it as prompt_gate",
        ),
        (
            [BY_ROLLOUT, (ROLLED[0], "    gate: helpdesk_gate\n    prompt_gate: helpdesk_gate\n")],
            "rollouts.helpdesk.prompt_gate",
            "name one of a prompt",
        ),
        (
            [(BY_ROLLOUT[0], "    prompt: {name: answer@2, go_live: by_rollout}\n")],
            "deployments.helpdesk.prompt.name",
            "by_rollout moves the version",
        ),
        ([(BY_ROLLOUT[0], "    prompt: {name: answr}\n")], "deployments.helpdesk.prompt.name", "did you mean answer?"),
        ([(ROLLED[0], "")], "rollouts.helpdesk", "name a gate, an index_gate or a prompt_gate"),
    ],
)
def test_what_could_not_move_a_prompt_is_reported(
    file: Path, edits: list[tuple[str, str]], path: str, message: str
) -> None:
    found = problems(file, *edits)

    assert message in next((text for where, text in found.items() if where.startswith(path)), str(found))


async def test_a_changed_prompt_changes_the_prompt_and_not_the_deployment_that_rolls_it_out(
    file: Path, running: Running, connection: Connection
) -> None:
    await Planner(connection, read_loop(changed(file, BY_ROLLOUT, GATED, ROLLED))).apply()
    running.writes()
    assert not [each for each in await Planner(connection, read_loop(file)).diff() if each.changes]

    loop = read_loop(changed(file, ('user: "{{ question }}"', 'user: "Now: {{ question }}"')))
    found = {(each.kind, each.name): each.action for each in await Planner(connection, loop).diff()}

    assert running.writes() == {}
    assert found["prompt", "answer"] is Action.UPDATE
    assert found["deployment", "helpdesk"] is Action.NONE


def test_a_gate_may_be_evaluated_again(file: Path) -> None:
    weekly = ("    candidate_prompt: answer\n", "    candidate_prompt: answer\n    reevaluate: {every: 7d}\n")
    loop = read_loop(changed(file, BY_ROLLOUT, GATED, ROLLED, weekly))

    gates = {each.name: each.message for each in desired_resources(loop) if isinstance(each.message, Gate)}

    assert gates["prompt_gate"].reevaluate.every.seconds == 7 * 24 * 3600
    assert [name for name, gate in gates.items() if gate.HasField("reevaluate")] == ["prompt_gate"]


def test_a_gate_may_be_evaluated_again_when_a_provider_changes(file: Path) -> None:
    on_change = (weekly := "    candidate_prompt: answer\n", weekly + "    reevaluate: {on_provider_change: true}\n")
    loop = read_loop(changed(file, BY_ROLLOUT, GATED, ROLLED, on_change))

    gates = {each.name: each.message for each in desired_resources(loop) if isinstance(each.message, Gate)}

    again = gates["prompt_gate"].reevaluate
    assert (again.on_provider_change, again.every.seconds) == (True, 0)


def test_a_gate_that_is_to_be_evaluated_again_says_when(file: Path) -> None:
    never = (weekly := "    candidate_prompt: answer\n", weekly + "    reevaluate: {}\n")

    with pytest.raises(LoopErrors, match="use every: 7d, or on_provider_change: true"):
        read_loop(changed(file, BY_ROLLOUT, GATED, ROLLED, never))


def test_a_text_or_file_that_is_neither_is_refused_where_it_stands(file: Path) -> None:
    file.write_text(file.read_text().split("prompts:\n")[0] + "prompts:\n  answer:\n    user: {text: hello}\n")

    found = {path for path in problems(file) if path.startswith("prompts.answer.user")}

    assert found <= {"prompts.answer.user", "prompts.answer.user.text", "prompts.answer.user.file"}
    assert "prompts.answer.user.text" in found
