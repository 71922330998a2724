# ruff: noqa: ANN401 - messages of many kinds, and the values of generated enums
"""What the services say in the middle of a turn."""

from collections.abc import AsyncIterator, Callable
from typing import Any

from libs.cli.tests.commands.judge_answers import JUDGE
from libs.cli.tests.commands.review_answers import LABEL_USE
from libs.cli.tests.loop.running import Running
from tidemill.evaluator.v1 import evaluation_pb2 as ev
from tidemill.evaluator.v1 import evaluation_service_pb2 as ev_rpc
from tidemill.evaluator.v1 import suite_pb2 as su
from tidemill.evaluator.v1 import suite_service_pb2 as su_rpc
from tidemill.feedback.v1 import curation_pb2 as cu
from tidemill.feedback.v1 import curation_service_pb2 as cu_rpc
from tidemill.feedback.v1 import feedback_pb2 as fb
from tidemill.feedback.v1 import feedback_service_pb2 as fb_rpc
from tidemill.feedback.v1.curation_pb2 import Curation, CurationProgress
from tidemill.inference.v1 import budget_service_pb2 as bu_rpc
from tidemill.inference.v1 import conversation_service_pb2 as co_rpc
from tidemill.inference.v1 import deployment_service_pb2 as dep_rpc
from tidemill.inference.v1 import inference_service_pb2 as inf_rpc
from tidemill.inference.v1 import price_service_pb2 as prices_rpc
from tidemill.inference.v1 import prompt_service_pb2 as pr_rpc
from tidemill.inference.v1 import secret_service_pb2 as se_rpc
from tidemill.inference.v1.budget_pb2 import BUDGET_PER_END_USER, BUDGET_WINDOW_DAY, Budget, BudgetUsage
from tidemill.inference.v1.caching_pb2 import CacheSavings
from tidemill.inference.v1.conversation_pb2 import Conversation, ConversationSummary, Memory, Turn
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.inference_pb2 import INFERENCE_STATE_COMPLETED, Inference, Variant
from tidemill.inference.v1.price_pb2 import Price, PriceRates, PriceVersion
from tidemill.inference.v1.prompt_pb2 import Prompt, PromptContent, PromptVersion
from tidemill.inference.v1.rollout_pb2 import (
    ROLLOUT_STATE_CANARY,
    ROLLOUT_STATE_PROMOTED,
    Rollout,
    RolloutPolicy,
    RolloutStep,
    StepCounts,
)
from tidemill.inference.v1.secret_pb2 import Secret
from tidemill.ingest.v1 import dataset_service_pb2 as ds_rpc
from tidemill.ingest.v1.dataset_pb2 import Dataset, DatasetPart, DatasetStatistics, DatasetVersion
from tidemill.ingest.v1.source_pb2 import (
    SOURCE_POLL_STATE_FAILING,
    PollCounts,
    Polling,
    S3Origin,
    Source,
    SourcePoll,
)
from tidemill.monitor.v1 import audit_service_pb2 as au_rpc
from tidemill.monitor.v1 import lineage_service_pb2 as li_rpc
from tidemill.monitor.v1.audit_pb2 import AuditRecord
from tidemill.monitor.v1.lineage_pb2 import Edge, Node, TimelineEntry
from tidemill.rag.v1.retrieval_service_pb2 import SearchResponse
from tidemill.trainer.v1 import model_registry_service_pb2 as mr_rpc
from tidemill.trainer.v1 import training_pb2 as tr
from tidemill.trainer.v1 import training_service_pb2 as tr_rpc
from tidemill.trainer.v1.model_pb2 import ModelApproval, ModelSource, ModelVersion, TrainedSource

SAVINGS = CacheSavings(day="2026-11-29", exact_hits=3, made=1, saved_input_tokens=120, saved_cost="0.5", currency="USD")
OWNED = {"tidemill.dev/loop": "helpdesk"}


def prompt(name: str, *, approved: int = 0) -> Prompt:
    found = Prompt(id=name, latest_version=2, content=PromptContent(user="{{ question }}"))
    found.versions.extend(PromptVersion(number=each, creator="user:mia", missing_approvals=1) for each in (1, 2))
    if approved:
        found.versions[approved - 1].missing_approvals = 0
        found.versions[approved - 1].approvals.add(approver="user:ada")
    return found


def source() -> Source:
    """Return a source that is polled."""
    poll = SourcePoll(
        state=SOURCE_POLL_STATE_FAILING,
        reason="ACCESS_DENIED",
        message="check the secret",
        failures=2,
        last=PollCounts(found=12, changed=3, deleted=1, refused=2),
    )
    origin = S3Origin(endpoint="https://s3.acme.example", bucket="kb")
    return Source(id="wiki", polling=Polling(s3=origin), poll=poll)


def dataset_version() -> DatasetVersion:
    return DatasetVersion(
        dataset="helpdesk_sft",
        number=2,
        train=DatasetPart(examples=128),
        held_out=DatasetPart(examples=52),
        statistics=DatasetStatistics(offered=186, duplicates=4, overlap=2, excluded=7),
        label_use=LABEL_USE,
    )


def waiting_version(*, rationale: str = "") -> DatasetVersion:
    version = dataset_version()
    version.approval.role, version.approval.count, version.missing_approvals = "reviewer", 3, 2
    version.approvals.add(approver="user:ada", rationale=rationale)
    return version


def model_version() -> ModelVersion:
    trained = TrainedSource(run="run-2", base="small@1", dataset_version="helpdesk_sft@2")
    found = ModelVersion(id="helpdesk_lora@1", source=ModelSource(trained=trained), authors=["user:mia"])
    promotion = found.promotions.add(deployment="helpdesk", rollout="ro-1", evaluation="ev-1", reason="STEPS_DONE")
    promotion.approvals.add(approver="user:ada")
    return found


def training_run(state: tr.TrainingRunState.ValueType = tr.TRAINING_RUN_STATE_RUNNING) -> tr.TrainingRun:
    run = tr.TrainingRun(
        id="run-2",
        plan="helpdesk_lora",
        dataset_version="helpdesk_sft@2",
        state=state,
        progress=tr.TrainingProgress(
            step=31, steps=48, loss=1.25, losses=[tr.LossPoint(step=1, loss=2.5), tr.LossPoint(step=31, loss=1.25)]
        ),
    )
    run.progress.remaining.FromSeconds(70)
    run.start_time.FromSeconds(1_790_000_000)
    return run


def evaluation(state: ev.EvaluationState.ValueType = ev.EVALUATION_STATE_RUNNING) -> ev.Evaluation:
    found = ev.Evaluation(
        id="ev-1",
        gate="helpdesk_gate",
        candidate="helpdesk_lora@1",
        baseline="small@1",
        state=state,
        answered=40,
        cases=108,
        confidence=0.95,
    )
    if state == ev.EVALUATION_STATE_COMPLETED:
        found.verdict = ev.VERDICT_FAILED
        found.comparisons.add(
            case_set="suite:truth@1", metric="rouge_l", cases=60, baseline=0.5, candidate=0.4, difference=-0.1,
            low=-0.15, high=-0.05, required=True, gain_above=-0.02, holds=False, candidate_failures=1,
            unanswered=3, not_in_time=2, note="the lower bound is -0.1500, and has to be above -0.02", clusters=20,
        )  # fmt: skip
        of_truth = {"case_set": "suite:truth@1", "metric": "rouge_l", "label": "topic"}
        found.slices.add(value="files", clusters=12, cases=30, enough=True, adjusted_p_value=0.012, **of_truth)
        found.slices.add(value="mail", clusters=2, cases=2, **of_truth)
        found.slices_left_out = 3
    return found


def deployment(state: Any = ROLLOUT_STATE_CANARY) -> Deployment:
    steps = [RolloutStep(shadow=True, requests=10), RolloutStep(weight=50, requests=40, at_least=15)]
    found = Deployment(
        id="helpdesk",
        etag="1",
        labels=OWNED,
        model="small",
        follow="helpdesk_lora",
        rollout_policy=RolloutPolicy(gate="helpdesk_gate", steps=steps),
        rollout=Rollout(id="ro-1", state=state, step=1, steps=steps, counts=StepCounts(requests=12, candidate=5)),
    )
    found.rollout.candidate.model = "helpdesk_lora@1"
    for rules in (found.rollout_policy.abort, found.rollout.abort):
        rules.metrics.add(metric="reopened", at_least=20)
    reopened = found.rollout.counts.metrics.add(metric="reopened")
    reopened.candidate.mean, reopened.candidate.number, reopened.candidate.immature = 0.9, 4.5, 3
    found.rollout.counts.failure_difference.low, found.rollout.counts.failure_difference.high = -0.02, 0.24
    found.rollout.counts.latency_ratio.low = 0.75
    found.rollout.approvals.add(approver="ada", rationale="it reads well")
    found.rollout.approvals.add(approver="user:mia", rationale="mine")
    found.rollout.authors.append("user:mia")
    found.rollout.decided_by = "user:eve"
    found.rollout.step_time.FromSeconds(1_790_000_000)
    return found


def declared(running: Running) -> None:
    """Keep what a loop declared."""
    kept: dict[str, Any] = {
        "source": source(),
        "deployment": deployment(),
        "dataset": Dataset(id="helpdesk_sft", labels=OWNED, latest_version=2, version_count=2, held_out_share=0.3),
        "curation": Curation(
            id="helpdesk_sft",
            labels=OWNED,
            dataset="helpdesk_sft",
            feedback=["correction"],
            new_examples=100,
            progress=CurationProgress(new_examples=67, examples=247, filtered=3),
        ),
        "training": tr.TrainingPlan(id="helpdesk_lora", labels=OWNED, dataset="helpdesk_sft", base="small"),
        "judge": JUDGE,
        "gate": ev.Gate(id="helpdesk_gate", labels=OWNED, deployment="helpdesk", candidate="helpdesk_lora"),
    }
    for kind, message in kept.items():
        running.keepers[kind].stored[message.id] = message


def _submitted(request: fb_rpc.SubmitFeedbackRequest) -> fb_rpc.SubmitFeedbackResponse:
    given = fb.Feedback(id="fb-1", state=fb.FEEDBACK_STATE_RECORDED)
    given.MergeFrom(request.feedback)
    return fb_rpc.SubmitFeedbackResponse(feedback=given)


def _lineage(request: li_rpc.GetLineageRequest) -> li_rpc.GetLineageResponse:
    version, run = Node(kind="model_version", id="m@1"), Node(kind="training_run", id="run-2", facts={"steps": "48"})
    edge = Edge(source_kind="training_run", source_id="run-2", target_kind="model_version", target_id="m@1",
                relation="made_by")  # fmt: skip
    nodes = [version, run] if request.direction == li_rpc.LINEAGE_DIRECTION_BACK else [version]
    return li_rpc.GetLineageResponse(
        nodes=nodes, edges=[edge] if request.direction == li_rpc.LINEAGE_DIRECTION_BACK else []
    )


def _described(request: tr_rpc.UpdateTrainingRunRequest) -> tr_rpc.UpdateTrainingRunResponse:
    found = training_run()
    if "notes" in request.update_mask.paths:
        found.notes = request.run.notes
    if "labels" in request.update_mask.paths:
        found.labels.update(request.run.labels)
    return tr_rpc.UpdateTrainingRunResponse(run=found)


def _cases(_request: Any) -> ev_rpc.ListCaseResultsResponse:
    case = ev.CaseResult(case_set="suite:truth@1", case="q1", question="What?", reference="This.")
    case.baseline.scores["rouge_l"], case.baseline.text = 0.9, "This."
    case.candidate.failure = "UNAVAILABLE"
    return ev_rpc.ListCaseResultsResponse(results=[case], metric="rouge_l")


def _power(_request: Any) -> ev_rpc.GetGatePowerResponse:
    known = ev.RequirementPower(
        case_set="suite:truth@1", metric="rouge_l", gain=0.05, questions=60, confidence=0.95, deviation=0.2, power=0.34,
        detectable_gain=0.12, needed_questions=260,
    )  # fmt: skip
    unknown = ev.RequirementPower(case_set="sft", metric="rouge_l", gain=0.05, message="not known yet")
    return ev_rpc.GetGatePowerResponse(requirements=[known, unknown], power=0.8)


def _comparison(request: ev_rpc.StartEvaluationRequest) -> ev_rpc.StartEvaluationResponse:
    return ev_rpc.StartEvaluationResponse(evaluation=ev.Evaluation(id="ev-1", candidate=request.candidate))


async def _exported(_request: Any) -> AsyncIterator[ds_rpc.ExportDatasetVersionResponse]:
    yield ds_rpc.ExportDatasetVersionResponse(chunk=b"{}\n")


CONVERSATION = Conversation(
    id="chat-1",
    deployment="helpdesk",
    end_user="u1",
    turns=[Turn(number=1, inference="in-1", state=INFERENCE_STATE_COMPLETED)],
    summary=ConversationSummary(text="They asked about leave.", through=1),
)
MEMORY = Memory(id="m-1", deployment="helpdesk", end_user="u1", text="The user lives in Oslo.", corrected=True)
BUDGET = Budget(
    id="per_user", per=BUDGET_PER_END_USER, window=BUDGET_WINDOW_DAY, requests=200, cost="2.50", deployment="helpdesk"
)
PRICE = Price(
    id="small",
    model="smollm2",
    rates=PriceRates(input="0.15", output="0.60"),
    versions=[PriceVersion(version=3, rates=PriceRates(input="0.15", output="0.60"))],
)
SECRET = Secret(id="OPENAI_API_KEY", hosts=["https://api.openai.com"], revision=2, overridden=True)

ANSWERS: dict[str, Callable[[Any], Any]] = {
    "feedback.v1.feedback_service:SubmitFeedback": _submitted,
    "feedback.v1.feedback_service:EraseEndUser": lambda _: fb_rpc.EraseEndUserResponse(erased=3, inferences=5),
    "feedback.v1.feedback_service:ListFeedback": lambda _: fb_rpc.ListFeedbackResponse(
        feedback=[fb.Feedback(id="fb-1", metric="rating", number=0.25, inference="in-1", times=2)]
    ),
    "feedback.v1.curation_service:ListRefusedExamples": lambda r: cu_rpc.ListRefusedExamplesResponse(
        examples=[cu.RefusedExample(feedback="fb-2", reason="CONTRADICTED", inference="in-2", end_user="u-9")]
        if r.filter in ("", 'reason = "CONTRADICTED"')
        else []
    ),
    "rag.v1.retrieval_service:Search": lambda _: SearchResponse(),
    "ingest.v1.dataset_service:GetDatasetVersion": lambda _: ds_rpc.GetDatasetVersionResponse(
        version=dataset_version()
    ),
    "ingest.v1.dataset_service:ApproveDatasetVersion": lambda request: ds_rpc.ApproveDatasetVersionResponse(
        version=waiting_version(rationale=request.rationale)
    ),
    "ingest.v1.dataset_service:ListDatasetVersions": lambda _: ds_rpc.ListDatasetVersionsResponse(
        versions=[dataset_version()]
    ),
    "ingest.v1.dataset_service:DiffDatasetVersions": lambda request: ds_rpc.DiffDatasetVersionsResponse(
        added=["ex-9"] if request.base != request.target else []
    ),
    "ingest.v1.dataset_service:ExportDatasetVersion": _exported,
    "trainer.v1.training_service:GetTrainingRun": lambda _: tr_rpc.GetTrainingRunResponse(run=training_run()),
    "trainer.v1.training_service:ListTrainingRuns": lambda _: tr_rpc.ListTrainingRunsResponse(
        runs=[tr.TrainingRun(id="run-1", state=tr.TRAINING_RUN_STATE_SUCCEEDED), training_run()]
    ),
    "trainer.v1.training_service:UpdateTrainingRun": _described,
    "trainer.v1.training_service:ImportTrainingRun": lambda request: tr_rpc.ImportTrainingRunResponse(
        run=tr.TrainingRun(id="run-3", source=request.source)
    ),
    "trainer.v1.training_service:DeleteTrainingRun": lambda request: tr_rpc.DeleteTrainingRunResponse(
        run=tr.TrainingRun(id=request.id)
    ),
    "trainer.v1.training_service:StartTrainingRun": lambda _: tr_rpc.StartTrainingRunResponse(
        run=training_run(tr.TRAINING_RUN_STATE_QUEUED)
    ),
    "trainer.v1.training_service:CancelTrainingRun": lambda _: tr_rpc.CancelTrainingRunResponse(
        run=training_run(tr.TRAINING_RUN_STATE_CANCELLED)
    ),
    "trainer.v1.training_service:RetryTrainingRun": lambda _: tr_rpc.RetryTrainingRunResponse(
        run=training_run(tr.TRAINING_RUN_STATE_QUEUED)
    ),
    "evaluator.v1.suite_service:ListShippedSuites": lambda _: su_rpc.ListShippedSuitesResponse(
        suites=[su.ShippedSuite(id="forgetting", description="simple facts", case_count=60, languages=["en", "de"])]
    ),
    "evaluator.v1.evaluation_service:GetGatePower": _power,
    "evaluator.v1.evaluation_service:ListEvaluations": lambda _: ev_rpc.ListEvaluationsResponse(
        evaluations=[evaluation()]
    ),
    "evaluator.v1.evaluation_service:GetEvaluation": lambda _: ev_rpc.GetEvaluationResponse(evaluation=evaluation()),
    "evaluator.v1.evaluation_service:StartEvaluation": _comparison,
    "evaluator.v1.evaluation_service:CancelEvaluation": lambda _: ev_rpc.CancelEvaluationResponse(
        evaluation=evaluation(ev.EVALUATION_STATE_CANCELLED)
    ),
    "evaluator.v1.evaluation_service:ListCaseResults": _cases,
    "inference.v1.deployment_service:GetCacheSavings": lambda _: dep_rpc.GetCacheSavingsResponse(
        days=[SAVINGS], total=CacheSavings(exact_hits=3, made=1, saved_input_tokens=120)
    ),
    "inference.v1.deployment_service:PromoteRollout": lambda _: dep_rpc.PromoteRolloutResponse(
        deployment=deployment(ROLLOUT_STATE_PROMOTED)
    ),
    "inference.v1.deployment_service:ApproveRollout": lambda _: dep_rpc.ApproveRolloutResponse(deployment=deployment()),
    "inference.v1.deployment_service:RollBackRollout": lambda _: dep_rpc.RollBackRolloutResponse(
        deployment=deployment()
    ),
    "inference.v1.prompt_service:GetPrompt": lambda r: pr_rpc.GetPromptResponse(prompt=prompt(r.id)),
    "inference.v1.prompt_service:LabelPrompt": lambda r: pr_rpc.LabelPromptResponse(prompt=prompt(r.id)),
    "inference.v1.prompt_service:ApprovePromptVersion": lambda r: pr_rpc.ApprovePromptVersionResponse(
        prompt=prompt(r.id, approved=r.version)
    ),
    "inference.v1.conversation_service:GetConversation": lambda _: co_rpc.GetConversationResponse(
        conversation=CONVERSATION
    ),
    "inference.v1.conversation_service:ListConversations": lambda _: co_rpc.ListConversationsResponse(
        conversations=[CONVERSATION]
    ),
    "inference.v1.conversation_service:DeleteConversation": lambda r: co_rpc.DeleteConversationResponse(id=r.id),
    "inference.v1.conversation_service:ListMemories": lambda _: co_rpc.ListMemoriesResponse(memories=[MEMORY]),
    "inference.v1.conversation_service:UpdateMemory": lambda r: co_rpc.UpdateMemoryResponse(memory=r.memory),
    "inference.v1.conversation_service:DeleteMemory": lambda r: co_rpc.DeleteMemoryResponse(id=r.id),
    "inference.v1.budget_service:ListBudgets": lambda _: bu_rpc.ListBudgetsResponse(budgets=[BUDGET]),
    "inference.v1.budget_service:GetBudgetUsage": lambda _: bu_rpc.GetBudgetUsageResponse(
        budget=BUDGET,
        usage=BudgetUsage(requests=12, tokens=3400, cost="0.25", reserved_tokens=400, reserved_cost="0.1"),
    ),
    "inference.v1.budget_service:DeleteBudget": lambda _: bu_rpc.DeleteBudgetResponse(budget=BUDGET),
    "inference.v1.price_service:ListPrices": lambda _: prices_rpc.ListPricesResponse(prices=[PRICE]),
    "inference.v1.price_service:GetPrice": lambda _: prices_rpc.GetPriceResponse(price=PRICE),
    "inference.v1.price_service:DeletePrice": lambda _: prices_rpc.DeletePriceResponse(price=PRICE),
    "inference.v1.secret_service:SetSecret": lambda r: se_rpc.SetSecretResponse(secret=r.secret),
    "inference.v1.secret_service:ListSecrets": lambda _: se_rpc.ListSecretsResponse(secrets=[SECRET]),
    "inference.v1.secret_service:DeleteSecret": lambda _: se_rpc.DeleteSecretResponse(secret=SECRET),
    "trainer.v1.model_registry_service:GetModelVersion": lambda _: mr_rpc.GetModelVersionResponse(
        version=model_version()
    ),
    "trainer.v1.model_registry_service:ApproveModelVersion": lambda r: mr_rpc.ApproveModelVersionResponse(
        version=ModelVersion(id=r.id, approvals=[ModelApproval(approver="user:ada")], missing_approvals=1)
    ),
    "trainer.v1.model_registry_service:ListModelVersions": lambda _: mr_rpc.ListModelVersionsResponse(
        versions=[model_version()]
    ),
    "inference.v1.inference_service:EraseInference": lambda r: inf_rpc.EraseInferenceResponse(id=r.id),
    "inference.v1.inference_service:GetInference": lambda r: inf_rpc.GetInferenceResponse(
        inference=Inference(
            id=r.id,
            end_user="user:eva",
            variant=Variant(name="candidate", rollout="ro-1", model="helpdesk_lora@1", prompt="answer@2"),
            failure="PROMPT_TOO_LONG",
        )
    ),
    "monitor.v1.audit_service:ListAuditRecords": lambda _: au_rpc.ListAuditRecordsResponse(
        records=[
            AuditRecord(id="r-2", trace_id="trace-2", subject="user:other"),
            AuditRecord(
                id="r-1",
                trace_id="trace-1",
                subject="user:bob",
                method="tidemill.inference.v1.DeploymentService/UpdateDeployment",
                code="PERMISSION_DENIED",
                reason="ROLE_REQUIRED",
            ),
        ]
    ),
    "monitor.v1.lineage_service:GetLineage": _lineage,
    "monitor.v1.lineage_service:GetTimeline": lambda _: li_rpc.GetTimelineResponse(
        entries=[TimelineEntry(event="tidemill.inference.rollout.promoted.v1", message="it is live")]
    ),
}
