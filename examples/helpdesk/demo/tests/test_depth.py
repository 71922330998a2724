"""What `make demo ARGS=--deep` declares, watches and reports."""

import runpy
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from tidemill.evaluator.v1.evaluation_pb2 import CaseResult, Comparison, Evaluation, Verdict
from tidemill.ingest.v1.dataset_pb2 import DatasetPart, DatasetVersion
from tidemill.trainer.v1 import sweep_pb2 as pb
from tidemill.trainer.v1.training_pb2 import TrainingPlan, TrainingRun
from tidemill_cli.main import app
from tidemill_helpdesk import depth
from tidemill_helpdesk.depth import PAIRS, PREFERRED, PREFERRED_GATE, Depth
from tidemill_helpdesk.judging import GATE
from tidemill_helpdesk.report import Report
from tidemill_helpdesk.turn import DATASET, PLAN

ROOT = Path(__file__).resolve().parents[4]
HELPDESK = ROOT / "examples" / "helpdesk"
LIVE = "helpdesk_lora@1"


def declared(file: str) -> dict[str, Any]:
    loop: dict[str, Any] = YAML(typ="safe").load(HELPDESK / file)
    return loop


def test_the_loop_that_learns_in_depth_only_adds_to_the_one_of_the_demo() -> None:
    deep = declared("deep.yaml")
    del deep["datasets"][PAIRS], deep["training"][PREFERRED], deep["gates"][PREFERRED_GATE]
    del deep["training"][PLAN]["sweep"]

    assert deep == declared("loop.yaml")


def test_what_learned_from_pairs_is_judged_on_what_neither_model_was_taught() -> None:
    loop = declared("deep.yaml")
    gate, training = loop["gates"][PREFERRED_GATE], loop["training"][PREFERRED]

    assert (gate["candidate"], gate["deployment"]) == (PREFERRED, "helpdesk")
    # Each dataset draws its own held-out part, so that of the pairs has questions that the live model was taught.
    assert all("suite" in each["cases"] for each in gate["require"])
    assert (training["dataset"], training["method"]) == (PAIRS, "dpo")
    corrections, pairs = (loop["datasets"][name] for name in (DATASET, PAIRS))
    assert pairs["publish"] == corrections["publish"]  # as many corrections make as many pairs


def sweep(*, winner: int = 2, state: pb.SweepState.ValueType = pb.SWEEP_STATE_TRAINING_WINNER) -> pb.Sweep:
    found = pb.Sweep(id="s-1", plan=PLAN, state=state, winner=winner, max_trials=3)
    found.space.add(setting="args.learning_rate")
    for number, losses in enumerate(([2.0, 1.5], [1.8, 1.2], [2.5]), start=1):
        pruned = len(losses) == 1
        trial_state = pb.SWEEP_TRIAL_STATE_PRUNED if pruned else pb.SWEEP_TRIAL_STATE_MEASURED
        trial = found.trials.add(number=number, state=trial_state, losses=losses)
        trial.settings.update({"args.learning_rate": 0.001 * number})
    return found


@dataclass
class Services:
    """Stands for all that is asked."""

    versions: list[str] = field(default_factory=lambda: [LIVE])
    verdict: Verdict.ValueType = Verdict.VERDICT_FAILED
    published: DatasetVersion | str = field(
        default_factory=lambda: DatasetVersion(id=f"{PAIRS}@1", train=DatasetPart(examples=150))
    )
    version_of_the_sweep: str = LIVE
    paused: list[bool] = field(default_factory=list)

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("Sweeps", "Evaluations", "TrainingPlans", "Training"):
            monkeypatch.setattr(depth, name, lambda _: self)
        for name in ("searched", "trained", "judged"):
            monkeypatch.setattr(depth, name, getattr(self, name))
        monkeypatch.setattr(depth, "Choices", lambda turn: self)  # noqa: ARG005 - by its name

    async def searched(self, _connection: object, plan: str, **_: object) -> pb.Sweep:
        assert plan == PLAN
        return sweep()

    async def trained(self, _connection: object, plan: str, **_: object) -> TrainingRun:
        run = TrainingRun(plan=plan, model_version=f"{PREFERRED}@1")
        run.progress.losses.add(step=1, loss=2.5)
        return run

    async def judged(self, _connection: object, gate: str, candidate: str, **_: object) -> Evaluation:
        met = Comparison(case_set="suite:helpdesk_truth@1", metric="rouge_l", cases=60, required=True, holds=False)
        met.baseline, met.candidate, met.difference, met.low, met.high = 0.85, 0.86, 0.01, -0.05, 0.07
        return Evaluation(gate=gate, candidate=candidate, baseline=LIVE, comparisons=[met], verdict=self.verdict)

    async def get(self, _sweep: str) -> pb.Sweep:
        found = sweep(state=pb.SWEEP_STATE_SUCCEEDED)
        found.run, found.model_version = "r-1", self.version_of_the_sweep
        return found

    async def run(self, run: str) -> TrainingRun:
        assert run == "r-1"
        return TrainingRun(id=run, model_version=LIVE)

    async def all(self, *, gate: str) -> AsyncIterator[Evaluation]:
        assert gate == GATE
        for version in self.versions:
            yield Evaluation(candidate=version)

    async def cases(self, _evaluation: str) -> AsyncIterator[CaseResult]:
        yield CaseResult(case_set="suite:helpdesk_truth@1", question="?")

    async def version(self, dataset: str) -> DatasetVersion | str:
        assert dataset == PAIRS
        return self.published

    async def update(self, plan: TrainingPlan, *paths: str) -> None:
        assert (plan.id, paths) == (PREFERRED, ("paused",))
        self.paused.append(plan.paused)


async def in_depth(services: Services, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    services.patch(monkeypatch)
    turn = SimpleNamespace(connection=None, report=Report("deep"), example=SimpleNamespace(loop=HELPDESK / "deep.yaml"))
    deep = Depth(turn=cast("Any", turn))
    await deep.hold()
    await deep.pairs()
    await deep.search()
    await deep.met_the_gate()
    run = await deep.train()
    await deep.judge(run.model_version)
    assert deep.pictures() == {"sweep": deep.sweep, "preferred_losses": [(1, 2.5)]}
    assert [each["case_set"] for each in deep.scores()] == [f"suite:helpdesk_truth@1, {PREFERRED}"]
    report: Report = turn.report
    return report.data()


async def test_the_version_of_a_winner_s_run_that_was_retried_is_reported_too(monkeypatch: pytest.MonkeyPatch) -> None:
    report = await in_depth(Services(version_of_the_sweep=""), monkeypatch)

    assert report["sweep"]["model_version"] == LIVE


async def test_pairs_that_make_no_version_are_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Services(published="3 of 180 examples").patch(monkeypatch)
    turn = SimpleNamespace(connection=None, report=Report("deep"))
    deep = Depth(turn=cast("Any", turn))

    await deep.pairs()

    assert not deep.has_pairs
    assert f"no version of {PAIRS}: 3 of 180 examples; {PREFERRED} is not trained" in " ".join(
        capsys.readouterr().out.split()
    )
    assert turn.report.data()["preferred"] == {"without_version": "3 of 180 examples"}


async def test_the_sweep_is_reported_with_its_trials_and_what_of_it_met_the_gate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    services = Services()

    report = await in_depth(services, monkeypatch)

    found = report["sweep"]
    assert (found["trials"], found["measured"], found["pruned"], found["failed"]) == (3, 2, 1, 0)
    assert (found["own_settings_loss"], found["winner"], found["winner_loss"]) == (1.5, 2, 1.2)
    assert found["winner_settings"] == {"args.learning_rate": 0.002}
    assert (found["met_the_gate"], found["model_version"]) == ([LIVE], LIVE)
    assert "2 *" in capsys.readouterr().out
    assert services.paused == [True, False]


@pytest.mark.parametrize(
    ("verdict", "named", "lines"),
    [
        (Verdict.VERDICT_FAILED, "failed", ["difference +0.010 in [-0.050, +0.070], 60 questions", "Gate: failed"]),
        (Verdict.VERDICT_PASSED, "passed", ["Gate: passed", "better, and not rolled out"]),
    ],
)
async def test_the_verdict_on_what_learned_from_pairs_is_shown_whatever_it_is(
    verdict: Verdict.ValueType,
    named: str,
    lines: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = await in_depth(Services(verdict=verdict), monkeypatch)

    said = " ".join(capsys.readouterr().out.split())
    assert all(line in said for line in lines)
    found = report["preferred"]
    assert (found["verdict"], found["live_model"], found["interval"]) == (named, LIVE, [-0.05, 0.07])
    assert (found["pairs"], found["broken"]) == (150, ["rouge_l on suite:helpdesk_truth@1"])


VERIFY = runpy.run_path(str(ROOT / "infra" / "verify.py"))
PROMISES = cast("Mapping[str, Callable[[Mapping[str, Any]], bool]]", VERIFY["DEEP"])


async def reported(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    report = await in_depth(Services(), monkeypatch)
    report |= {"machine": {"numeric_format": "bfloat16", "processor": "one"}, "model": {"version": LIVE}}
    report |= {"rollout": {"live_model": LIVE}, "choices": {"chosen": 20}}
    report["seconds"] = {"sweep": 400.0, "preferred_training": 200.0, "documents": 900.0}
    return report


@pytest.mark.parametrize(
    ("section", "broken"),
    [
        ("sweep", {"failed": 1, "measured": 1}),
        ("sweep", {"measured": 3, "pruned": 0, "winner": 1, "winner_loss": 1.5}),
        ("sweep", {"met_the_gate": [LIVE, "helpdesk_lora@2"]}),
        ("preferred", {"pairs": 20}),
        ("preferred", {"live_model": "smollm2@1"}),
        ("preferred", {"interval": [0.02, 0.07]}),
        ("seconds", {"sweep": 901.0}),
    ],
)
async def test_verify_holds_a_deep_demo_to_what_it_promises(
    section: str, broken: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = await reported(monkeypatch)

    assert all(holds(report) for holds in PROMISES.values())
    assert not all(holds(report | {section: report[section] | broken}) for holds in PROMISES.values())


async def test_verify_counts_a_promise_without_figures_as_broken_and_prints_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = await reported(monkeypatch)
    report["sweep"] |= {"own_settings_loss": None}  # the first trial failed
    report["preferred"] = {"without_version": "3 of 180 examples"}
    report |= {"evaluation": {}, "feedback": {"poisoned": False}}

    assert not VERIFY["judge"](report)

    said = capsys.readouterr().out
    assert "BROKEN  a trial is better than the settings as they were" in said
    assert "BROKEN  pairs of corrections are trained on" in said
    assert "kept    of the sweep, the winner alone meets the gate" in said


def test_options_that_exclude_each_other_are_refused_by_name() -> None:
    refused = CliRunner().invoke(app, ["demo", "--deep", "--poisoned"])

    assert refused.exit_code == 2
    assert "--poisoned and --deep are mutually exclusive" in " ".join(refused.output.replace("│", " ").split())
