"""Maps datasets, training, suites, judges, gates and rollouts of loop.yaml to protobuf messages."""

import json
from collections.abc import Iterator
from typing import Any

from tidemill.content.v1.content_pb2 import Message, Part, Role
from tidemill.evaluator.v1.evaluation_pb2 import Gate, Reevaluate, Requirement, RetrievalRequirement
from tidemill.evaluator.v1.suite_pb2 import Case, Expectation, ShippedCases, Suite
from tidemill.feedback.v1.curation_pb2 import Curation, ExampleKind
from tidemill.inference.v1.rollout_pb2 import (
    AbortRules,
    ApprovalPolicy,
    MetricRule,
    OnTimeout,
    RolloutPolicy,
    RolloutStep,
    StickyBy,
)
from tidemill.ingest.v1.dataset_pb2 import ApprovalPolicy as DatasetApproval
from tidemill.ingest.v1.dataset_pb2 import Dataset
from tidemill.trainer.v1.sweep_pb2 import SweepBudget, SweepDimension, SweepPruning, SweepRange
from tidemill.trainer.v1.training_pb2 import (
    MemorisationCheck,
    PlannedSweep,
    TrainingJudge,
    TrainingLengthBounds,
    TrainingLimits,
    TrainingPlan,
    TrainingReward,
)
from tidemill_cli.loop import learning, rolling, searches
from tidemill_cli.loop.declaration import Loop
from tidemill_cli.loop.desired import Desired
from tidemill_cli.loop.durations import duration_of
from tidemill_cli.loop.judges import judge_in, judge_resource
from tidemill_cli.loop.label_rules import label_rules
from tidemill_cli.loop.references import gate_deployments
from tidemill_cli.loop.suites import Case as TrustedCase
from tidemill_cli.loop.suites import Suite as TrustedSuite
from tidemill_client.values import struct_of


def turning_resources(loop: Loop, labels: dict[str, str]) -> Iterator[Desired]:
    """Yield the resources in order of dependency; a dataset and its curation have the same name."""
    for name, dataset in loop.datasets.items():
        yield _dataset(name, dataset, labels)
        yield _curation(name, dataset, labels)
    for name, training in loop.training.items():
        yield _training(name, training, labels)
    for name, suite in loop.suites.items():
        yield _suite(name, suite, labels)
    for name, judge in sorted(loop.judges.items(), key=lambda each: bool(each[1].members)):  # juries behind members
        yield judge_resource(name, judge, labels)
    for name, gate in loop.gates.items():
        yield _gate(name, gate, gate_deployments(loop, name)[0], labels)


def rollout_policy(part: rolling.Rollout) -> RolloutPolicy:
    """Return a rollout's policy."""
    abort = AbortRules(
        error_rate_above=part.abort.error_rate.above if part.abort.error_rate else None,
        latency_p95_ratio_above=part.abort.latency_p95.ratio_above if part.abort.latency_p95 else None,
        rating_loss_above=part.abort.rating.loss_above if part.abort.rating else None,
        metrics=[
            MetricRule(metric=name, loss_above=rule.loss_above, at_least=rule.at_least)
            for name, rule in part.abort.metrics.items()
        ],
    )
    return RolloutPolicy(
        gate=part.gate or "",
        index_gate=part.index_gate or "",
        prompt_gate=part.prompt_gate or "",
        sticky_by=StickyBy.Value(f"STICKY_BY_{part.sticky_by.upper()}"),
        steps=[
            RolloutStep(
                shadow=step.shadow,
                weight=step.weight or 0,
                requests=step.requests,
                at_least=step.at_least,
                at_most=duration_of(step.at_most),
            )
            for step in part.steps
        ],
        abort=abort,
        on_timeout=OnTimeout.Value(f"ON_TIMEOUT_{part.on_timeout.upper()}"),
        approval=ApprovalPolicy(role=part.approval.role, count=part.approval.count),
    )


def _dataset(name: str, part: learning.Dataset, labels: dict[str, str]) -> Desired:
    held_out, rules = part.held_out, list(label_rules(part.labels))
    return Desired.of(
        "dataset",
        Dataset,
        name,
        [("review_queue", each) for each in dict.fromkeys(rule.queue for rule in rules)],
        labels=labels,
        held_out_share=held_out.share,
        group_by=held_out.group_by,
        approval=DatasetApproval(role=part.approval.role, count=part.approval.count),
        label_rules=rules,
    )


def _curation(name: str, part: learning.Dataset, labels: dict[str, str]) -> Desired:
    return Desired.of(
        "curation",
        Curation,
        name,
        (("dataset", name), ("deployment", part.examples.deployment)),
        labels=labels,
        dataset=name,
        deployment=part.examples.deployment,
        feedback=list(dict.fromkeys(part.examples.feedback)),
        kind=ExampleKind.Value(f"EXAMPLE_KIND_{part.examples.kind.upper()}"),
        rating_threshold=part.examples.rating_threshold,
        per_user_at_most=part.examples.per_user_at_most,
        min_output_chars=part.examples.min_output_chars,
        max_output_chars=part.examples.max_output_chars,
        max_user_share=part.examples.max_user_share,
        cohort_label=part.examples.cohort_label,
        max_cohort_share=part.examples.max_cohort_share,
        max_repeats=part.examples.max_repeats,
        exclude_contradicted=part.examples.exclude_contradicted,
        min_rater_reliability=part.examples.min_rater_reliability,
        exclude_spam=part.examples.exclude_spam,
        new_examples=part.publish.new_examples,
        at_latest_every=duration_of(part.publish.at_latest_every),
        at_least=part.publish.at_least,
    )


def _training(name: str, part: learning.Training, labels: dict[str, str]) -> Desired:
    return Desired.of(
        "training",
        TrainingPlan,
        name,
        (
            ("dataset", part.dataset),
            *(("model", each.partition("@")[0]) for each in (part.base, part.teacher) if each),
            *(("judge", each.judge.id) for each in part.rewards if each.judge),
        ),
        labels=labels,
        dataset=part.dataset,
        base=part.base,
        method=part.method,
        use_peft=part.use_peft,
        added_tokens=part.added_tokens,
        lora=struct_of(part.lora),
        args=struct_of(part.args),
        rewards=[_reward(each) for each in part.rewards],
        teacher=part.teacher or "",
        limits=_limits(part.limits),
        priority=part.priority,
        processes=part.processes,
        sweep=_search(part.sweep) if part.sweep else None,
        memorisation=MemorisationCheck(**part.memorisation.model_dump()) if part.memorisation else None,
    )


def _reward(part: learning.Reward) -> TrainingReward:
    said = part.model_dump(exclude_none=True, exclude={"json_schema", "length", "judge"})
    if part.judge:
        said["judge"] = TrainingJudge(**part.judge.model_dump())
    if part.length:
        said["length"] = TrainingLengthBounds(**part.length.model_dump())
    if part.json_schema is not None:
        said["json_schema"] = json.dumps(part.json_schema, sort_keys=True)
    return TrainingReward(**said)


def _search(part: searches.TrainingSweep) -> PlannedSweep:
    return PlannedSweep(
        space=[_dimension(setting, values) for setting, values in part.search.items()],
        max_trials=part.trials,
        max_parallel=part.parallel,
        held_out=part.held_out,
        measurements=part.measurements,
        pruning=SweepPruning(
            keep_percent=part.keep_percent,
            startup_trials=part.startup_trials,
            warmup_measurements=part.warmup_measurements,
        ),
        budget=SweepBudget(
            time=duration_of(part.budget.time), cost=part.budget.cost, price_per_hour=part.budget.price_per_hour
        ),
        seed=part.seed,
    )


def _dimension(setting: str, values: searches.SearchRange | list[Any]) -> SweepDimension:
    if isinstance(values, searches.SearchRange):
        return SweepDimension(setting=setting, range=SweepRange(**values.model_dump()))
    dimension = SweepDimension(setting=setting)
    dimension.choices.extend(values)
    return dimension


def _suite(name: str, part: TrustedSuite, labels: dict[str, str]) -> Desired:
    if part.shipped:
        shipped = ShippedCases(suite=part.shipped, languages=part.languages, max_cases=part.max_cases)
        return Desired.of("suite", Suite, name, labels=labels, shipped=shipped)
    cases = part.cases if isinstance(part.cases, list) else []
    return Desired.of("suite", Suite, name, labels=labels, cases=[case_message(case) for case in cases])


def case_message(case: TrustedCase) -> Case:
    """Return the message of a case of loop.yaml or of a file."""
    turns = [
        Message(role=Role.Value(f"ROLE_{turn.role.upper()}"), parts=[Part(text=turn.text)]) for turn in case.earlier
    ]
    return Case(
        id=case.id,
        question=case.question,
        reference=case.reference,
        labels=case.labels,
        earlier=turns,
        variables=struct_of(case.variables) if case.variables else None,
        principals=case.principals,
        expect=Expectation(**case.expect.model_dump()) if case.expect else None,
        schema=None if case.answer_schema is None else struct_of(case.answer_schema),
        code_tests=case.code_tests,
    )


def _reevaluate(part: learning.Reevaluate) -> Reevaluate:
    return Reevaluate(every=duration_of(part.every), on_provider_change=part.on_provider_change)


def _gate(name: str, part: learning.Gate, deployment: str, labels: dict[str, str]) -> Desired:
    cases = [requirement.cases for requirement in part.require]
    asked = [("suite", c.suite) if c.suite else ("dataset", str(c.dataset)) for c in cases]
    judges = [("judge", judge) for each in part.require if (judge := judge_in(each.metric))]
    return Desired.of(
        "gate",
        Gate,
        name,
        (("deployment", deployment), (_kind_of(part), part.follows), *asked, *judges),
        labels=labels,
        deployment=deployment,
        candidate=part.candidate,
        collection=part.collection,
        candidate_prompt=part.candidate_prompt,
        retrieval=RetrievalRequirement(**part.retrieval.model_dump()) if part.retrieval else None,
        confidence=part.confidence,
        cluster_by=part.cluster_by,
        max_size_ratio=part.max_size_ratio,
        max_exposure=part.max_exposure,
        reevaluate=_reevaluate(part.reevaluate) if part.reevaluate else None,
        require=[
            Requirement(
                **_cases(requirement.cases),
                metric=requirement.metric,
                gain_above=requirement.gain_above,
                at_least=requirement.cases.at_least,
            )
            for requirement in part.require
        ],
    )


def _kind_of(part: learning.Gate) -> str:
    """Return the kind of resource whose versions are a gate's candidates."""
    if part.candidate_prompt:
        return "prompt"
    return "collection" if part.collection else "training"


def _cases(cases: learning.Cases) -> dict[str, Any]:
    """Return one of both: setting a oneof's member to an empty value would still select it."""
    return {"suite": cases.suite} if cases.suite else {"dataset": cases.dataset}


def _limits(limits: learning.Limits) -> TrainingLimits:
    picked = limits.memory == "auto"
    memory = 0 if limits.memory == "auto" else limits.memory or 0
    return TrainingLimits(time=duration_of(limits.time), memory_bytes=memory, memory_auto=picked)
