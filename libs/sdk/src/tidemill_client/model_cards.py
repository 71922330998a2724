"""Model cards: what a version was made from, how it was judged, and who made it, approved it and promoted it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from google.protobuf.struct_pb2 import Value

from tidemill.evaluator.v1.evaluation_pb2 import Evaluation, Verdict
from tidemill.trainer.v1.model_pb2 import ModelSource, ModelVersion, Promotion, TrainedSource
from tidemill.trainer.v1.training_pb2 import TrainingRun
from tidemill_client.connection import Connection
from tidemill_client.enums import name_of
from tidemill_client.evaluations import Evaluations
from tidemill_client.models import Models
from tidemill_client.training import Training
from tidemill_core.errors import NotFound

_ESCAPED = str.maketrans({"|": "\\|", "`": "'", "\n": " ", "\r": " ", "<": "&lt;"})
_NONE = Value()
_METRICS = (
    "Cases of",
    "Metric",
    "Questions",
    "Baseline",
    "Candidate",
    "Difference",
    "Verdict",
    "Started by",
    "Evaluation",
)
_LICENCES = ("license", "licence", "notice")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """One comparison of an evaluation; the interval is of candidate less baseline."""

    evaluation: str
    verdict: str
    started_by: str
    """The subject that started it; empty where its gate did."""
    case_set: str
    metric: str
    cases: int
    baseline: float
    candidate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Approved:
    """A rollout that made the version live."""

    deployment: str
    rollout: str
    evaluation: str
    promoted: str
    reason: str
    decided_by: str
    """The subject that promoted it by hand; empty where the policy did."""
    approvals: Sequence[Mapping[str, str]]
    """`approver` and `time` of those that counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """A version's card; texts are empty where the services know nothing."""

    version: str
    digest: str
    source: str
    authors: Sequence[str]
    data: Mapping[str, object]
    licence: str
    limits: Sequence[str]
    metrics: Sequence[Judgement]
    promotions: Sequence[Approved]

    def as_json(self) -> dict[str, Any]:
        """Return the card as JSON values."""
        return asdict(self)

    def markdown(self) -> str:
        """Return the card as Markdown."""
        facts = {"Source": self.source, "Digest": self.digest, "Authors": ", ".join(self.authors) or "not known"}
        facts |= {name.replace("_", " ").capitalize(): str(value) for name, value in self.data.items()}
        metrics = [
            (
                each.case_set,
                each.metric,
                each.cases,
                f"{each.baseline:.3f}",
                f"{each.candidate:.3f}",
                f"{each.low:+.3f} to {each.high:+.3f}",
                each.verdict,
                each.started_by or "its gate",
                each.evaluation,
            )
            for each in self.metrics
        ]
        promotions = [
            (
                each.deployment,
                each.rollout,
                each.promoted,
                ", ".join(f"{given['approver']} ({given['time']})" for given in each.approvals) or "none required",
                each.decided_by or f"the policy ({each.reason})",
                each.evaluation,
            )
            for each in self.promotions
        ]
        return "\n".join(
            [
                f"# {_cell(self.version)}\n",
                _table(("", ""), [*facts.items()]),
                "\n## Metrics\n",
                _table(_METRICS, metrics) if metrics else "Not evaluated.",
                "\n## Approvals\n",
                _table(("Deployment", "Rollout", "Promoted", "Approved by", "Decided by", "Evaluation"), promotions)
                if promotions
                else "Never promoted.",
                "\n## Limits\n",
                "\n".join(f"- {_cell(each)}" for each in self.limits) or "None known.",
                "\n## Licence\n",
                _cell(self.licence),
                "",
            ]
        )


class ModelCards:
    """The cards of a project's model versions, put together from trainer and evaluator."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def get(self, reference: str) -> ModelCard:
        """Return the card of `model@number`, or of the newest ready version of `model`."""
        version = await Models(self._connection).version(reference)
        run = base = None
        if version.source.HasField("trained"):
            run = await self._run(version.source.trained.run)
            base = await self._base(began_with(version.source.trained))
        elif version.source.HasField("derived"):
            base = await self._base(version.source.derived.source_version)
        found = Evaluations(self._connection).all(candidate=version.id)
        evaluations = [each async for each in found if not each.reevaluates]  # which compare it with itself
        return ModelCard(
            version=version.id,
            digest=version.digest,
            source=origin_of(version.source),
            authors=list(version.authors) or [name for name in [version.creator] if name],
            data=_data(version, run),
            licence=_licence(version, base),
            limits=_limits(run, evaluations),
            metrics=[judged for each in evaluations for judged in _judgements(each)],
            promotions=[_approved(each) for each in version.promotions],
        )

    async def _run(self, name: str) -> TrainingRun | None:
        try:
            return await Training(self._connection).run(name)
        except NotFound:
            return None

    async def _base(self, name: str) -> ModelVersion | None:
        try:
            return await Models(self._connection).version(name)
        except NotFound:
            return None


def began_with(trained: TrainedSource) -> str:
    """Return the base that a run began with, whether it made an adapter on it or full weights."""
    return trained.base or trained.finetuned_from


def origin_of(source: ModelSource) -> str:
    """Return the source of a version as a short text."""
    match source.WhichOneof("kind"):
        case "trained":
            base = began_with(source.trained)
            return f"{base} trained on {source.trained.dataset_version}, run {source.trained.run}"
        case "derived":
            return f"{source.derived.source_version} by {source.derived.method}, derivation {source.derived.derivation}"
        case "hugging_face":
            return f"hf:{source.hugging_face.repository}@{source.hugging_face.revision or 'main'}"
        case "openai":
            return f"openai:{source.openai.model} at {source.openai.base_url}"
        case "folder":
            return "a folder"
        case _:
            return "-"


def _data(version: ModelVersion, run: TrainingRun | None) -> dict[str, object]:
    if version.source.HasField("derived"):
        return {"dataset": version.source.derived.dataset_version or "none"}
    if not version.source.HasField("trained"):
        return {}
    trained = version.source.trained
    found: dict[str, object] = {"dataset": trained.dataset_version, "base": began_with(trained)}
    if run is not None:
        found |= {"plan": run.plan, "steps": run.progress.steps, "attempts": run.attempt}
        if run.HasField("examples"):
            found["examples"] = f"{run.examples.fitted} of {run.examples.offered}"
        if run.progress.HasField("loss"):
            found["loss"] = round(run.progress.loss, 4)
    return found


def _licence(version: ModelVersion, base: ModelVersion | None) -> str:
    files, base_files = _licence_files(version), _licence_files(base) if base else []
    where = ", where its publisher states it"
    if found := files or base_files:
        where = f": see {', '.join(found)} {'here' if base and files else 'in it'}"
    if version.source.HasField("trained"):
        name = origin_of(base.source) if base else began_with(version.source.trained)
        return f"That of its base ({name}){where}; and the rights in the examples of its dataset."
    rights = "; and the rights in the examples of its dataset" if version.source.derived.dataset_version else ""
    return f"That of its source{where}{rights}."


def _licence_files(version: ModelVersion) -> list[str]:
    return [each.path for each in version.artifacts if each.path.lower().startswith(_LICENCES)]


def _limits(run: TrainingRun | None, evaluations: Sequence[Evaluation]) -> list[str]:
    found = list(run.warnings) if run is not None else []
    if run is not None and "max_length" in run.recipe.fields.get("args", _NONE).struct_value.fields:
        tokens = run.recipe.fields["args"].struct_value.fields["max_length"].number_value
        found.append(f"trained on sequences of at most {tokens:.0f} tokens")
    for each in evaluations:
        found += [f"{of.case_set}, {of.metric}: {of.note}" for of in each.comparisons if of.note]
        if each.message:
            found.append(f"evaluation {each.id}: {each.message}")
    return found


def _judgements(evaluation: Evaluation) -> list[Judgement]:
    verdict = name_of(Verdict, evaluation.verdict)
    return [
        Judgement(
            evaluation=evaluation.id,
            verdict=verdict,
            started_by=evaluation.requester,
            case_set=each.case_set,
            metric=each.metric,
            cases=each.cases,
            baseline=each.baseline,
            candidate=each.candidate,
            low=each.low,
            high=each.high,
        )
        for each in evaluation.comparisons
    ]


def _approved(promotion: Promotion) -> Approved:
    return Approved(
        deployment=promotion.deployment,
        rollout=promotion.rollout,
        evaluation=promotion.evaluation,
        promoted=promotion.promote_time.ToJsonString(),
        reason=promotion.reason,
        decided_by=promotion.decided_by,
        approvals=[
            {"approver": each.approver, "time": each.approve_time.ToJsonString()} for each in promotion.approvals
        ],
    )


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *(f"| {' | '.join(_cell(str(cell)) for cell in row)} |" for row in rows)])


def _cell(text: str) -> str:
    return text.translate(_ESCAPED)
