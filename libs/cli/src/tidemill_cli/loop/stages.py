"""The stages of a loop: state, progress, and what each is waiting for."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tidemill.evaluator.v1.evaluation_pb2 import Comparison, Evaluation, EvaluationState, Gate, Verdict
from tidemill.feedback.v1.curation_pb2 import Curation
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.rollout_pb2 import AbortRules, Rollout, RolloutState, RolloutStep
from tidemill.ingest.v1.dataset_pb2 import Dataset, DatasetVersion
from tidemill.trainer.v1.training_pb2 import TrainingExamples, TrainingPlan, TrainingRun, TrainingRunState
from tidemill_client.enums import name_of

WEIGHTS_BYTES, EXPOSURE = "weights_bytes", "exposure"
"""The metric of sizes, of which there are no cases, and no interval."""
_ALL = 100
"""The weight, in percent, at which the baseline answers nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The status of one stage; `done` of `total` if it has a counter."""

    stage: str
    name: str
    state: str
    """One word: waiting, running, done, failed, held, paused or unknown."""
    says: str
    done: int = 0
    total: int = 0
    since: datetime | None = None
    remaining_s: float | None = None
    subject: str = ""
    """The id of the version, run, evaluation or rollout."""
    message: str = ""
    """Further details from the service."""

    def data(self) -> dict[str, Any]:
        """Return the stage as JSON values."""
        return asdict(self) | {"since": self.since.isoformat() if self.since else ""}


def examples_stage(curation: Curation) -> Stage:
    """Return the progress of a curation, and the time from which fewer examples suffice."""
    progress = curation.progress
    what = f"{curation.feedback[0]}s" if len(curation.feedback) == 1 else "examples"
    says = f"{progress.new_examples} of {curation.new_examples} {what}"
    if progress.examples < curation.at_least:
        says += f", {progress.examples} of at least {curation.at_least} in all"
    if progress.filtered:
        says += f", {progress.filtered} do not count"
    since = time_of(progress.since if progress.HasField("since") else curation.create_time)
    if since and curation.HasField("at_latest_every"):
        says += f", or fewer from {since + curation.at_latest_every.ToTimedelta():%Y-%m-%d %H:%M} UTC on"
    return Stage(
        stage="examples",
        name=curation.id,
        state="paused" if curation.paused else "waiting",
        says=_or_paused(says, paused=curation.paused),
        done=progress.new_examples,
        total=curation.new_examples,
        since=since,
        message=progress.message,
    )


def dataset_stage(dataset: Dataset, newest: DatasetVersion | None) -> Stage:
    """Return the newest version, or why the last batch was not published."""
    subject = f"{dataset.id}@{dataset.latest_version}" if dataset.latest_version else ""
    if dataset.waiting_offers:
        state, says, since = "running", "a version is being published", dataset.waiting_since
    elif dataset.HasField("last_withheld"):
        withheld = dataset.last_withheld
        state, says, since = "failed", f"{withheld.reason}: {withheld.message}", withheld.withhold_time
        says += f"; {subject} stays the newest" if subject else "; no training starts"
    elif newest is None:
        state, says, since = "waiting", "waits for enough examples", dataset.create_time
    elif newest.missing_approvals:
        says = f"{_version(newest)}; waits for {newest.missing_approvals} approvals of role {newest.approval.role}"
        state, since = "waiting", newest.create_time
    else:
        state, says, since = "done", _version(newest), newest.create_time
    return Stage(stage="dataset", name=dataset.id, state=state, says=says, since=time_of(since), subject=subject)


def _version(newest: DatasetVersion) -> str:
    statistics = newest.statistics
    says = f"{newest.dataset}@{newest.number}: {newest.train.examples} to train, {newest.held_out.examples} held out"
    left_out = statistics.duplicates + statistics.overlap + statistics.erased + statistics.unmasked + statistics.empty
    return f"{says}, {left_out} left out" if left_out else says


def training_stage(plan: TrainingPlan, run: TrainingRun | None) -> Stage:
    """Return the progress or result of the newest run."""
    if run is None:
        says = f"waits for a version of {plan.dataset}"
        return _waiting("training", plan.id, says, paused=plan.paused, since=plan.update_time)
    state, says = _run(run)
    ended = run.HasField("finish_time")
    return Stage(
        stage="training",
        name=plan.id,
        state="paused" if plan.paused and state == "waiting" else state,
        says=_or_paused(says, paused=plan.paused),
        done=run.progress.step,
        total=run.progress.steps,
        since=time_of(run.finish_time if ended else run.start_time if run.HasField("start_time") else run.create_time),
        remaining_s=None if ended or not run.progress.HasField("remaining") else _seconds(run.progress.remaining),
        subject=run.id,
    )


def examples_in_words(counts: TrainingExamples) -> str:
    """Return the number of examples a run trains on, and the omitted ones by reason."""
    left_out = {"too long": counts.too_long, "refused by the base": counts.refused, "empty": counts.empty}
    why = ", ".join(f"{count} {words}" for words, count in left_out.items() if count)
    return f"{counts.fitted} of {counts.offered} examples fitted" + (f" ({why})" if why else "")


def _run(run: TrainingRun) -> tuple[str, str]:
    progress = run.progress
    match run.state:
        case TrainingRunState.TRAINING_RUN_STATE_RUNNING:
            if not progress.steps:
                return "running", f"training on {run.dataset_version}, starting"
            left = f", {_seconds(progress.remaining):.0f} s left" if progress.HasField("remaining") else ""
            return "running", f"training, step {progress.step} of {progress.steps}{left}"
        case TrainingRunState.TRAINING_RUN_STATE_REGISTERING:
            return "running", "trained; its version is being registered"
        case TrainingRunState.TRAINING_RUN_STATE_SUCCEEDED:
            counts = f": {examples_in_words(run.examples)}" if run.HasField("examples") else ""
            return "done", f"{run.model_version} trained on {run.dataset_version}{counts}"
        case TrainingRunState.TRAINING_RUN_STATE_FAILED | TrainingRunState.TRAINING_RUN_STATE_CANCELLED:
            why = f"{run.reason}: {run.message}" if run.reason else "cancelled"
            return "failed", f"{why}; tidemill training retry {run.id}"
        case _:
            return "waiting", f"queued on {run.dataset_version}: waits for a worker"


def evaluation_stage(gate: Gate, evaluation: Evaluation | None) -> Stage:
    """Return the progress or verdict of an evaluation; a re-evaluation of what is live is a stage of its own."""
    if evaluation is None:
        index, prompt = f"index {gate.collection}", f"prompt {gate.candidate_prompt}"
        what = prompt if gate.candidate_prompt else gate.candidate or index
        says = f"waits for a version of {what}"
        return _waiting("evaluation", gate.id, says, paused=gate.paused, since=gate.update_time)
    state, says = _evaluation(evaluation)
    ended = evaluation.HasField("finish_time")
    return Stage(
        stage="reevaluation" if evaluation.reevaluates else "evaluation",
        name=gate.id,
        state="paused" if gate.paused and state == "waiting" else state,
        says=_or_paused(says, paused=gate.paused),
        done=evaluation.answered,
        total=evaluation.cases,
        since=time_of(evaluation.finish_time if ended else evaluation.create_time),
        remaining_s=None if ended or not evaluation.HasField("remaining") else _seconds(evaluation.remaining),
        subject=evaluation.id,
    )


def _evaluation(evaluation: Evaluation) -> tuple[str, str]:
    match evaluation.state:
        case EvaluationState.EVALUATION_STATE_RUNNING:
            left = f", {_seconds(evaluation.remaining):.0f} s left" if evaluation.HasField("remaining") else ""
            says = f"evaluation {evaluation.answered} of {evaluation.cases} cases{left}"
            return "running", _and_why(says, evaluation.message)
        case EvaluationState.EVALUATION_STATE_COMPLETED:
            passed = evaluation.verdict in {Verdict.VERDICT_PASSED, Verdict.VERDICT_NOT_WORSE}
            evidence = _evidence(evaluation.comparisons, passed=passed)
            return "done" if passed else "failed", f"{evaluation.candidate} {verdict_of(evaluation)}{evidence}"
        case EvaluationState.EVALUATION_STATE_FAILED:
            return "failed", f"{evaluation.candidate}: {evaluation.reason}: {evaluation.message}"
        case EvaluationState.EVALUATION_STATE_CANCELLED:
            return "failed", f"{evaluation.candidate}: cancelled"
        case _:
            return "waiting", f"{evaluation.candidate} {evaluation.message or 'waits for a worker'}"


def verdict_of(evaluation: Evaluation) -> str:
    """Return the verdict as a word; an ad hoc evaluation has none."""
    name = name_of(Verdict, evaluation.verdict)
    return {"unspecified": "-", "none": "no gate", "not_worse": "not worse"}.get(name, name)


def unanswered(comparison: Comparison) -> str:
    """Return the number of cases excluded from the means, by reason; "" if none."""
    excluded = comparison.unanswered + comparison.missing
    if not excluded:
        return ""
    why = {
        "baseline failed": comparison.baseline_failures,
        "candidate failed": comparison.candidate_failures,
        "not in time": comparison.not_in_time,
        "no value": comparison.missing,
    }
    return f"{excluded} ({', '.join(f'{what} {count}' for what, count in why.items() if count)})"


def _evidence(comparisons: Sequence[Comparison], *, passed: bool) -> str:
    """Return the decisive requirements: those that are not met, or all of them if the gate passed."""
    deciding = [c for c in comparisons if c.required and (passed or not c.holds)]
    shown = [_worded(c) + (f" ({c.note})" if c.note else "") for c in deciding]
    return f": {'; '.join(shown)}" if shown else ""


def sizes(c: Comparison) -> str:
    """Return what the weights of both sides take."""
    return f"{c.candidate / 1e6:.1f} MB against {c.baseline / 1e6:.1f} MB"


def exposed(c: Comparison) -> str:
    """Return what a candidate has memorised of its canaries."""
    return f"{c.candidate:.2f} bits of {c.cases} canaries" if c.cases else "not measured"


def _worded(c: Comparison) -> str:
    """Return the gain and its interval, of weights both sizes, and of canaries what was memorised of them."""
    if c.metric == WEIGHTS_BYTES:
        return f"weights {sizes(c)}"
    if c.metric == EXPOSURE:
        return f"exposure {exposed(c)}"
    return f"{c.metric} {c.difference:+.3f} [{c.low:+.3f}, {c.high:+.3f}] on {c.case_set}"


def rollout_stage(deployment: Deployment) -> Stage:
    """Return the progress of the active rollout, or the result of the last one."""
    rollout = deployment.rollout
    if not rollout.id:
        policy = deployment.rollout_policy
        gates = " or ".join(filter(None, (policy.gate, policy.index_gate, policy.prompt_gate)))
        says = f"waits for a candidate that passes {gates}"
        return _waiting("rollout", deployment.id, says, paused=deployment.rollouts_paused, since=deployment.create_time)
    step = rollout.steps[rollout.step] if rollout.step < len(rollout.steps) else RolloutStep()
    state, says = _rollout(rollout, step, follow=deployment.follow)
    if rollout.state == RolloutState.ROLLOUT_STATE_CANARY and (missing := _missing_values(deployment, step)):
        says += f"; waits for values of {', '.join(missing)}"
    ended = rollout.HasField("finish_time")
    return Stage(
        stage="rollout",
        name=deployment.id,
        state="paused" if deployment.rollouts_paused and not ended else state,
        says=_or_paused(says, paused=deployment.rollouts_paused),
        done=rollout.counts.requests,
        total=step.requests,
        since=time_of(rollout.finish_time if ended else rollout.step_time),
        subject=rollout.id,
    )


def abort_rules(deployment: Deployment) -> AbortRules:
    """Return the rules of its rollout, which are the policy's when it began; the policy's where there is none."""
    rollout = deployment.rollout
    return rollout.abort if rollout.HasField("abort") else deployment.rollout_policy.abort


def _missing_values(deployment: Deployment, step: RolloutStep) -> list[str]:
    """Return the metrics that a step which has its requests still waits for."""
    counts = deployment.rollout.counts
    if counts.requests < step.requests:
        return []
    found = {
        each.metric: each.candidate.number if step.weight == _ALL else min(each.candidate.number, each.baseline.number)
        for each in counts.metrics
    }
    rules = abort_rules(deployment).metrics
    return [rule.metric for rule in rules if found.get(rule.metric, 0) < rule.at_least]


def _rollout(rollout: Rollout, step: RolloutStep, *, follow: str) -> tuple[str, str]:
    counts = f"{rollout.counts.requests} of {step.requests} requests"
    if step.at_least:
        counts += f" ({rollout.counts.candidate} of at least {step.at_least} to the candidate)"
    candidate = rollout.candidate.model or follow
    if rollout.HasField("index"):
        candidate = f"index version {rollout.index.number} of {rollout.index.collection}"
    if rollout.HasField("prompt"):
        candidate = f"prompt {rollout.prompt.name}@{rollout.prompt.number}"
    match rollout.state:
        case RolloutState.ROLLOUT_STATE_SHADOW:
            return "running", _and_why(f"shadow, {counts}", rollout.message)
        case RolloutState.ROLLOUT_STATE_CANARY:
            return "running", _and_why(f"canary {step.weight} %, {counts}", rollout.message)
        case RolloutState.ROLLOUT_STATE_PROMOTED:
            return "done", f"{candidate} is live"
        case RolloutState.ROLLOUT_STATE_ROLLED_BACK:
            return "failed", f"{candidate} was rolled back: {rollout.message}"
        case _:
            return "held", f"{candidate} is held: {rollout.message}"


def unknown_stage(stage: str, says: str) -> Stage:
    """Return a stage whose service does not respond."""
    return Stage(stage=stage, name="-", state="unknown", says=says)


def _waiting(stage: str, name: str, says: str, *, paused: bool, since: Timestamp) -> Stage:
    """Return a stage that has begun nothing yet."""
    state = "paused" if paused else "waiting"
    return Stage(stage=stage, name=name, state=state, says=_or_paused(says, paused=paused), since=time_of(since))


def _or_paused(says: str, *, paused: bool) -> str:
    return f"paused; {says}" if paused else says


def _and_why(says: str, message: str) -> str:
    return f"{says}; {message}" if message else says


def _seconds(duration: Any) -> float:  # noqa: ANN401 - a Duration
    return float(duration.ToTimedelta().total_seconds())


def time_of(stamp: Timestamp) -> datetime | None:
    """Return a time; None where it is unset."""
    return stamp.ToDatetime(tzinfo=UTC) if stamp.seconds else None
