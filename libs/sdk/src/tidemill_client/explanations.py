"""Explanations: who had an answer, a refusal or a promotion made, by which rule, and on which figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from tidemill.evaluator.v1.evaluation_pb2 import Evaluation, Verdict
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.deployment_service_pb2 import GetDeploymentRequest
from tidemill.inference.v1.inference_pb2 import Inference, InferenceState, Purpose
from tidemill.inference.v1.inference_service_pb2 import GetInferenceRequest
from tidemill.inference.v1.rollout_pb2 import Approval, Rollout, RolloutState
from tidemill.monitor.v1.audit_pb2 import AuditOutcome, AuditRecord
from tidemill.monitor.v1.audit_service_pb2 import AuditFilter
from tidemill_client.audit import Audit
from tidemill_client.connection import Connection
from tidemill_client.enums import name_of
from tidemill_client.evaluations import Evaluations
from tidemill_core.errors import NotFound

SEARCHED_RECORDS = 10_000
"""The newest audit records that a refusal is searched in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Facts by name, in three parts. What is not known is left out."""

    subjects: Mapping[str, str]
    why: Mapping[str, str]
    figures: Mapping[str, str]

    @classmethod
    def of(
        cls, subjects: Mapping[str, object], why: Mapping[str, object], figures: Mapping[str, object]
    ) -> "Explanation":
        """Return it without what is empty."""
        return cls(subjects=_known(subjects), why=_known(why), figures=_known(figures))


class Explanations:
    """Reads what the services recorded; the caller needs the right to read it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def answer(self, inference: str) -> Explanation:
        """Explain an answer: who asked, which configuration answered and why that one, and what it rests on."""
        request = GetInferenceRequest(id=inference)
        found = (await self._connection.inferences.GetInference(request)).inference
        return _of_answer(found)

    async def refusal(self, trace: str) -> Explanation:
        """Explain a refused call by the trace id of its error, or by the id of its audit record.

        Raises:
            NotFound: none of the newest audit records has it.

        """
        searched = 0
        async for record in Audit(self._connection).all(AuditFilter()):
            if trace in {record.trace_id, record.id}:
                return _of_record(record)
            searched += 1
            if searched >= SEARCHED_RECORDS:
                break
        message = (
            f"none of the newest {searched} audit records of the project is of {trace[:80]}: not all calls have one"
        )
        raise NotFound(message)

    async def promotion(self, deployment: str) -> Explanation:
        """Explain the last rollout of a deployment: who made, approved and decided, and the evidence."""
        request = GetDeploymentRequest(id=deployment)
        found = (await self._connection.deployments.GetDeployment(request)).deployment
        if not found.rollout.id:
            message = f"deployment {deployment} has had no rollout"
            raise NotFound(message)
        evaluation = await Evaluations(self._connection).get(found.rollout.evaluation)
        return _of_promotion(found, evaluation)


def _known(facts: Mapping[str, object]) -> dict[str, str]:
    return {name: str(fact) for name, fact in facts.items() if fact}


def _of_answer(found: Inference) -> Explanation:
    variant = found.variant
    rule = "no rollout was active: the live configuration answers"
    if variant.rollout:
        share = "the candidate's share" if variant.name == "candidate" else "the baseline's share"
        rule = f"the user or request is in {share} of rollout {variant.rollout}, and stays in it"
    if found.purpose not in {Purpose.PURPOSE_UNSPECIFIED, Purpose.PURPOSE_LIVE}:
        rule = f"it was asked for: {name_of(Purpose, found.purpose)}"
    state = name_of(InferenceState, found.state)
    documents = {f"{each.document}@{each.version}" for each in found.passages}
    return Explanation.of(
        subjects={"end user": found.end_user, "project": found.project, "deployment": found.deployment},
        why={
            "state": state,
            "refused because": found.failure,
            "configuration": rule,
            "variant": variant.name,
            "model": variant.model,
            "prompt": variant.prompt,
            "index version": variant.index,
            "engine": variant.engine,
            "digest": variant.configuration,
            "ended by": found.finish_reason,
            "warnings": "; ".join(found.warnings),
            "left out": "what the caller may not read" if found.restricted else "",
        },
        figures={
            "passages": len(found.passages),
            "documents": ", ".join(sorted(islice(documents, 20))),
            "sentences with support": f"{found.citation_valid:.0%}" if found.HasField("citation_valid") else "",
            "tokens": f"{found.usage.input_tokens} in, {found.usage.output_tokens} out",
            "asked": found.create_time.ToJsonString(),
        },
    )


def _of_record(record: AuditRecord) -> Explanation:
    return Explanation.of(
        subjects={
            "subject": record.subject or "no proven caller",
            "by the service": record.via,
            "credential": record.credential,
            "address": record.address,
        },
        why={
            "call": record.method,
            "resource": record.resource,
            "outcome": name_of(AuditOutcome, record.outcome),
            "code": record.code,
            "rule": record.reason,
        },
        figures={
            "calls": record.count,
            "record": record.seq,
            "begun": record.begin_time.ToJsonString(),
            "trace": record.trace_id,
        },
    )


def _of_promotion(deployment: Deployment, evaluation: Evaluation) -> Explanation:
    rollout = deployment.rollout
    policy, state = deployment.rollout_policy, name_of(RolloutState, rollout.state)
    given = ", ".join(f"{each.approver} ({each.approve_time.ToJsonString()})" for each in _counted(rollout))
    required = {"approvals required": f"{policy.approval.count} of role {policy.approval.role}"}
    return Explanation.of(
        subjects={
            "authors": ", ".join(rollout.authors),
            "evaluation started by": evaluation.requester or f"gate {evaluation.gate}",
            "approved by": given,
            "decided by": rollout.decided_by or "the policy",
        },
        why={
            "state": state,
            "candidate": rollout.candidate.model,
            "because": rollout.message,
            "gate": evaluation.gate,
            "verdict": name_of(Verdict, evaluation.verdict),
            **(required if policy.approval.count else {}),
            "rollout": rollout.id,
            "evaluation": rollout.evaluation,
        },
        figures={
            **{
                f"{each.case_set} {each.metric}": f"{each.candidate:.3f} against {each.baseline:.3f}, difference "
                f"{each.low:+.3f} to {each.high:+.3f}"
                for each in evaluation.comparisons
            },
            "requests of the last step": rollout.counts.requests,
            "answers of the candidate": rollout.counts.candidate,
            "failed answers": f"{rollout.counts.candidate_failures} of the candidate, "
            f"{rollout.counts.baseline_failures} of the baseline",
        },
    )


def _counted(rollout: Rollout) -> list[Approval]:
    """Return the approvals without those of authors, which do not count."""
    return [each for each in rollout.approvals if each.approver not in rollout.authors]
