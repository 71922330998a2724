"""What the guides show can be typed."""

import asyncio
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from libs.cli.tests.commands.conftest import Terminal
from tidemill.inference.v1 import experiment_pb2 as pb
from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill_cli.loop.declaration import Deployment, Model
from tidemill_cli.loop.experiments import Experiment, experiment_resource
from tidemill_cli.loop.feedback_metrics import Metric
from tidemill_cli.loop.learning import LEARNS_FROM, Dataset, Training
from tidemill_cli.loop.review_queues import ReviewQueue
from tidemill_cli.loop.rolling import Abort
from tidemill_cli.loop.shapes import Declared
from tidemill_cli.loop.spending import Budget, Price

GUIDES = Path(__file__).parents[4] / "docs/guides"
GUIDE = (GUIDES / "operating.md").read_text(encoding="utf-8")
ACCESS = (GUIDES / "access.md").read_text(encoding="utf-8")
CONVERSATIONS = (GUIDES / "conversations.md").read_text(encoding="utf-8")
SECRETS = (GUIDES / "secrets.md").read_text(encoding="utf-8")
AUDIT = (GUIDES / "audit.md").read_text(encoding="utf-8")
ERASURE = (GUIDES / "erasure.md").read_text(encoding="utf-8")
SERVING = (GUIDES / "serving.md").read_text(encoding="utf-8")
EXPERIMENTS = (GUIDES / "experiments.md").read_text(encoding="utf-8")
REVIEWS = (GUIDES / "reviews.md").read_text(encoding="utf-8")
RUNS = (GUIDES / "runs.md").read_text(encoding="utf-8")
LEARNING = (GUIDES / "learning.md").read_text(encoding="utf-8")
FEEDBACK = (GUIDES / "feedback.md").read_text(encoding="utf-8")
DATA = (GUIDES / "data.md").read_text(encoding="utf-8")
OFFLINE = Terminal({})
"""Help asks no service."""
LOOP = GUIDE[GUIDE.index("## 6. The loop") :]


def shown(text: str) -> list[str]:
    return re.findall(r"^ +tidemill (.+?)(?:\s+#.*)?$", text, flags=re.MULTILINE)


def test_the_guide_shows_commands() -> None:
    assert len(shown(GUIDE)) > len(shown(LOOP)) > 10
    assert len(shown(ACCESS)) > 10
    assert len(shown(SECRETS)) > 1
    assert len(shown(AUDIT)) > 5
    assert len(shown(ERASURE)) > 10
    assert len(shown(CONVERSATIONS)) > 5
    assert len(shown(SERVING)) > 2
    assert len(shown(LEARNING)) > 2
    assert len(shown(RUNS)) > 7
    assert len(shown(FEEDBACK)) > 4
    assert len(shown(REVIEWS)) > 10
    assert len(shown(DATA)) > 20


EVERY = {each.name: each.read_text(encoding="utf-8") for each in sorted(GUIDES.glob("*.md"))}
EXAMPLES = (GUIDES.parents[1] / "examples" / "README.md").read_text(encoding="utf-8")
SHOWN = dict.fromkeys(command for guide in (*EVERY.values(), EXAMPLES) for command in shown(guide))


@pytest.mark.parametrize("guide", [*EVERY.values(), EXAMPLES], ids=[*EVERY, "examples"])
def test_what_each_guide_shows_is_tried(guide: str) -> None:
    lines = re.findall(r"^ +tidemill ", guide, flags=re.MULTILINE)

    assert len(lines) == len(shown(guide)) > 0


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_that_the_guide_shows_exists_with_its_options(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.rich_utils.rich_format_help", lambda **_: None)  # laid out it takes ten times as long

    said = OFFLINE.typed(*shlex.split(command), "--help")

    assert said.code == 0, said.text


@pytest.mark.parametrize("command", shown(LOOP))
async def test_what_the_guide_shows_of_the_loop_works(terminal: Terminal, command: str) -> None:
    said = await asyncio.to_thread(terminal, *shlex.split(command))

    assert said.code == 0, said.text


NAMED = sorted({*re.findall(r"`((?:loop|training|rollouts|evaluations|datasets) [a-z-]+)`", LOOP)})


@pytest.mark.parametrize("command", NAMED)
def test_a_command_that_the_guide_names_in_passing_exists(command: str) -> None:
    said = OFFLINE.typed(*command.split(), "--help")

    assert said.code == 0, said.text


DECLARED: dict[str, type[Declared]] = {"models": Model, "deployments": Deployment, "prices": Price, "budgets": Budget}


def test_what_the_guide_of_serving_shows_can_be_declared() -> None:
    shown = re.findall(r"^```yaml\n(.+?)^```", SERVING, flags=re.MULTILINE | re.DOTALL)
    loops = [YAML(typ="safe", pure=True).load(each) for each in shown]

    declared = {
        (section, name): DECLARED[section].model_validate(each)
        for loop in loops
        for section, resources in loop.items()
        for name, each in resources.items()
    }

    assert {section for section, _ in declared} == DECLARED.keys()
    routed = [each.routing for each in declared.values() if isinstance(each, Deployment) and each.routing]
    assert {name for each in routed for name in each.equal_models} < {name for _, name in declared}


def test_what_the_guide_of_experiments_shows_can_be_declared() -> None:
    (written,) = re.findall(r"^```yaml\n(.+?)^```", EXPERIMENTS, flags=re.MULTILINE | re.DOTALL)

    tone = Experiment.model_validate(YAML(typ="safe", pure=True).load(written)["experiments"]["tone"])

    assert len(shown(EXPERIMENTS)) == 3
    assert list(experiment_resource("tone", tone, {}).message.arms) == [  # type: ignore[attr-defined]
        pb.ExperimentArm(name="now", control=True),
        pb.ExperimentArm(name="warm", sampling=Sampling(temperature=0.8)),
        pb.ExperimentArm(name="short", prompt="answer@4"),
    ]
    declared = experiment_resource("tone", tone, {}).message
    assert declared.cohorts == pb.ExperimentCohorts(labels=["plan"], max_values=3)  # type: ignore[attr-defined]
    without = experiment_resource("tone", tone.model_copy(update={"cohorts": None}), {}).message
    assert without.cohorts == pb.ExperimentCohorts(max_values=5)  # type: ignore[attr-defined] # as the service keeps it


@pytest.mark.parametrize(
    "wrong",
    [
        {"goal": {"measure": "latency"}},
        {"goal": {"metric": "solved", "measure": "cost", "worst": 1}},
        {"goal": {}},
        {"cohorts": {"labels": []}},
        {"cohorts": {"labels": ["plan"], "max_values": 0}},
        {"arms": {"a": {"control": True}, "b": {"control": True, "model": "m"}}},
    ],
)
def test_an_experiment_that_says_too_little_or_too_much_is_a_problem(wrong: dict[str, Any]) -> None:
    right = {
        "deployment": "helpdesk",
        "arms": {"a": {"control": True}, "b": {"model": "m"}},
        "goal": {"metric": "solved"},
    }
    Experiment.model_validate(right)
    with pytest.raises(ValidationError):
        Experiment.model_validate(right | wrong)


def test_what_the_guide_of_learning_shows_can_be_declared() -> None:
    written, *_ = re.findall(r"^```yaml\n(.+?)^```", LEARNING, flags=re.MULTILINE | re.DOTALL)
    loop = YAML(typ="safe", pure=True).load(written)

    datasets = {name: Dataset.model_validate(each) for name, each in loop["datasets"].items()}
    training = {name: Training.model_validate(each) for name, each in loop["training"].items()}

    assert all(datasets[each.dataset].examples.kind in LEARNS_FROM[each.method] for each in training.values())


def test_the_label_rules_that_the_guide_of_data_shows_can_be_declared() -> None:
    (written,) = re.findall(r"^```yaml\n(.+?)^```", DATA, flags=re.MULTILINE | re.DOTALL)
    loop = YAML(typ="safe", pure=True).load(written)

    queues = {name: ReviewQueue.model_validate(each) for name, each in loop["reviews"].items()}
    (dataset,) = (Dataset.model_validate(each) for each in loop["datasets"].values())

    rules = [name.split(".") for name in (*dataset.labels.require, *dataset.labels.exclude)]
    assert len(rules) == 3
    assert all(field in queues[queue].fields for queue, field in rules)


def test_the_metrics_that_the_guide_of_feedback_shows_can_be_declared() -> None:
    written, rollouts = re.findall(r"^```yaml\n(.+?)^```", FEEDBACK, flags=re.MULTILINE | re.DOTALL)

    metrics = {
        name: Metric.model_validate(each) for name, each in YAML(typ="safe", pure=True).load(written)["metrics"].items()
    }

    assert {each.kind for each in metrics.values()} == {"boolean", "number", "category"}
    abort = Abort.model_validate(YAML(typ="safe", pure=True).load(rollouts)["rollouts"]["helpdesk"]["abort"])
    assert all(metrics[name].optimise != "none" for name in abort.metrics)


def test_the_queue_that_the_guide_of_reviews_shows_can_be_declared() -> None:
    (written,) = re.findall(r"^```yaml\n(.+?)^```", REVIEWS, flags=re.MULTILINE | re.DOTALL)

    queue = ReviewQueue.model_validate(YAML(typ="safe", pure=True).load(written)["reviews"]["answers"])

    assert {each.kind for each in queue.fields.values()} == {"boolean", "category", "number", "text"}


def test_the_policy_that_the_guide_of_conversations_shows_can_be_declared() -> None:
    shown = CONVERSATIONS[CONVERSATIONS.index("    deployments:") : CONVERSATIONS.index("All passages come")]
    loop = YAML(typ="safe", pure=True).load(textwrap.dedent(shown))

    deployment = Deployment.model_validate(loop["deployments"]["helpdesk"])

    assert deployment.conversation is not None
    assert deployment.conversation.memory_model == "smollm2"
