"""The demo's second half: feedback, dataset version, training, rollout.

It only asks, corrects, and polls; the services decide.
"""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from typing import Any, TypeVar

from rich.markup import escape

from tidemill.evaluator.v1.evaluation_pb2 import Evaluation, Verdict
from tidemill.feedback.v1.feedback_pb2 import Correction, Feedback, FeedbackState
from tidemill.feedback.v1.feedback_service_pb2 import SubmitFeedbackRequest
from tidemill.inference.v1.configuration_pb2 import Sampling
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.deployment_service_pb2 import GetDeploymentRequest
from tidemill.inference.v1.inference_pb2 import Inference
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest
from tidemill.inference.v1.rollout_pb2 import Rollout, RolloutState
from tidemill.ingest.v1.dataset_pb2 import DatasetVersion
from tidemill.monitor.v1.lineage_service_pb2 import (
    LINEAGE_DIRECTION_BACK,
    LINEAGE_DIRECTION_FORWARD,
    GetLineageRequest,
    GetTimelineRequest,
)
from tidemill.trainer.v1.training_pb2 import TrainingRun
from tidemill_cli.loop import read_loop
from tidemill_cli.loop.plan import Planner
from tidemill_cli.output import plain, progress, stdout
from tidemill_client.connection import Connection
from tidemill_client.datasets import Datasets
from tidemill_client.reactions import Reactions
from tidemill_client.values import assistant, text_of, user
from tidemill_core.errors import DeadlineExceeded, Internal
from tidemill_helpdesk.example import CorpusDocument, Example, upstream
from tidemill_helpdesk.helpdesk import DEPLOYMENT
from tidemill_helpdesk.patience import POLL_S, for_each, patience, until
from tidemill_helpdesk.report import Report
from tidemill_helpdesk.watching import trained

DATASET, PLAN = "helpdesk_sft", "helpdesk_lora"
REACTIONS_SOURCE = "https://shop.example/reactions"
TAUGHT, USERS, RATED_EVERY = 200, 20, 2
MAX_CONCURRENT_QUESTIONS, MAX_CONCURRENT_LIVE = 16, 8
TRUSTED_CASES = 60
LIVE_QUESTIONS = 300
SHOWN = 6
FOLLOWED_WITHIN = timedelta(seconds=1)
"""Within which every replica must serve a promoted model."""
T = TypeVar("T")

ENDED = {RolloutState.ROLLOUT_STATE_PROMOTED, RolloutState.ROLLOUT_STATE_ROLLED_BACK, RolloutState.ROLLOUT_STATE_HELD}


@dataclass(slots=True, kw_only=True)
class Turn:
    """One turn of the loop, in the project of the run."""

    connection: Connection
    example: Example
    report: Report
    documents: Sequence[CorpusDocument]
    facts: dict[str, Any] = field(default_factory=dict)
    """State for later steps: `before`, the baseline's answer to each question."""
    poisoned: bool = False
    losses: list[tuple[int, float]] = field(default_factory=list)
    """Step and loss."""
    taught: Sequence[CorpusDocument] = field(init=False)
    """The documents whose questions are asked first, and corrected."""

    def __post_init__(self) -> None:
        """Choose what is taught."""
        self.taught = self.example.corpus().questions(list(self.documents), TAUGHT)

    @property
    def before(self) -> dict[str, str]:
        """The baseline's answer to each question."""
        found: dict[str, str] = self.facts.setdefault("before", {})
        return found

    async def ask_taught(self, number: int, *, request_id: str = "", sampling: Sampling | None = None) -> Inference:
        """Ask one of the taught questions as its user; with neither id nor sampling it has always the same answer."""
        # A deterministic id, so that a continued demo gets the stored answers.
        first = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self.connection.project}/taught/{number}"))
        return await self._ask(
            self.taught[number].question,
            end_user=f"user-{number % USERS:02d}",
            request_id=request_id or first,
            sampling=sampling,
        )

    async def questions(self) -> None:
        """Ask the questions whose answers are corrected, rated and asked again."""
        with progress() as bar:
            asking = bar.add_task("asking", total=len(self.taught))

            async def one(number: int) -> None:
                self.before[self.taught[number].question] = text_of(await self.ask_taught(number))
                bar.advance(asking)

            await for_each(range(len(self.taught)), one, max_concurrent=MAX_CONCURRENT_QUESTIONS)

    async def triggers(self) -> None:
        """Submit corrections and thumbs as simulated users: half by gRPC, half as CloudEvents."""
        taught = self.taught
        right = [document.answer for document in taught]
        if self.poisoned:
            random.Random(7).shuffle(right)  # noqa: S311 - simulated mischief, not cryptography
        reactions: list[tuple[str, dict[str, object]]] = []

        async def one(number: int) -> None:
            inference = await self.ask_taught(number)  # was asked: the answer is the one that is stored
            given = _reaction(number, right[number], answer=text_of(inference))
            reactions.extend((inference.id, value) for value in given)

        await for_each(range(len(taught)), one, max_concurrent=MAX_CONCURRENT_QUESTIONS)
        submitted, thumbs = len(reactions), sum(value["metric"] == "rating" for _, value in reactions)
        recorded = {(each.inference, each.metric) async for each in self._feedback()}
        reactions = [each for each in reactions if (each[0], each[1]["metric"]) not in recorded]
        by_grpc, as_events = reactions[::2], reactions[1::2]
        await for_each(by_grpc, lambda given: self._submit(*given), max_concurrent=MAX_CONCURRENT_QUESTIONS)
        lines = [json.dumps({"subject": inference, "feedback": value | {"inference": inference}})
                 for inference, value in as_events]  # fmt: skip
        arguments = upstream(self.connection, "feedback")
        await self.example.run("publish.py", [*arguments, "--source", REACTIONS_SOURCE], "\n".join(lines))
        self.report.add("feedback", submitted=submitted, poisoned=self.poisoned)
        self.report.add("thumbs", given=thumbs)
        stdout.print(f"   {len(reactions)} submitted: {len(by_grpc)} by gRPC, {len(as_events)} as events")

    async def examples(self) -> DatasetVersion:
        """Wait for the dataset version that the curation rule triggers."""

        async def published() -> DatasetVersion | None:
            datasets = Datasets(self.connection)
            dataset = await datasets.get(DATASET)
            return await datasets.version(DATASET) if dataset.latest_version else None

        version = await until(published, "no dataset version was published", waiting="collecting examples")
        feedback = await self._recorded()
        accepted = len(feedback)
        self.report.add("feedback", accepted=accepted)
        corrected = sorted(each.create_time.ToDatetime() for each in feedback if each.HasField("correction"))
        requested = read_loop(self.example.loop).datasets[DATASET].publish.new_examples
        ruled = corrected[min(requested, len(corrected)) - 1]
        self.report.add(
            "dataset",
            version=version.id,
            train=version.train.examples,
            held_out=version.held_out.examples,
            overlap=version.statistics.train_held_out_shared,
            duplicates=version.statistics.duplicates,
            left_out_of_train=version.statistics.overlap,
            rule_to_version_s=round((version.create_time.ToDatetime() - ruled).total_seconds(), 2),
        )
        stdout.print(
            f"   {accepted} accepted; {version.id}: {version.train.examples} examples to train on, "
            f"{version.held_out.examples} held out, overlap {version.statistics.train_held_out_shared}"
        )
        return version

    async def _recorded(self) -> list[Feedback]:
        """Wait until all submitted feedback is recorded, and return it."""
        given = self.report.figures["feedback"]["submitted"]

        async def recorded() -> list[Feedback] | None:
            recorded = FeedbackState.FEEDBACK_STATE_RECORDED
            found = [each async for each in self._feedback() if each.state == recorded and not _is_choice(each)]
            return found if len(found) >= given else None

        return await until(
            recorded, f"not all of the {given} feedback entries were recorded", waiting="waiting for feedback"
        )

    def _feedback(self) -> AsyncIterator[Feedback]:
        return Reactions(self.connection).all(deployment=DEPLOYMENT)

    async def train(self, *, retry: bool = False) -> TrainingRun:
        """Watch the run that the new version triggers; with `retry`, retry one that has failed."""
        run = await trained(self.connection, PLAN, retry=retry)
        self.losses = [(point.step, point.loss) for point in run.progress.losses]
        self.report.add("model", version=run.model_version, steps=run.progress.steps, loss=run.progress.loss)
        stdout.print(f"   {run.model_version}: {run.progress.steps} steps, loss {run.progress.loss:.3f} at the end")
        return run

    async def roll_out(self) -> Rollout:
        """Simulate live traffic until the rollout has ended, and measure how soon the promoted model serves."""
        kept = self.example.trusted(self.documents, TRUSTED_CASES, taught=TAUGHT)
        rest = self.example.corpus().questions([each for each in self.documents if each not in kept], LIVE_QUESTIONS)
        visits = enumerate(cycle(rest))
        answered: list[Inference] = []
        ended = asyncio.Event()

        async def visitor() -> None:
            while not ended.is_set():
                number, document = next(visits)
                with suppress(DeadlineExceeded):  # the rollout counts it
                    answered.append(await self._live(document, f"visitor-{number}"))

        async with patience("the rollout did not end"), asyncio.TaskGroup() as group:
            for _ in range(MAX_CONCURRENT_LIVE):
                group.create_task(visitor())
            deployment = await self._until_rolled_out()
            ended.set()
            answered.append(await self._live(rest[0], "visitor-after"))  # immediately, not when a visitor has finished
        rollout, requests = deployment.rollout, len(answered)
        state = RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_").lower()
        self.report.add("rollout", state=state, requests=requests, live_model=deployment.live.model)
        self.report.add("rollout", reason=rollout.message)
        stdout.print(f"   {state} after {requests} live questions; live model: {deployment.live.model}")
        if rollout.state == RolloutState.ROLLOUT_STATE_PROMOTED:
            self.report.add("rollout", promoted_to_serving_s=_serving_after_s(answered, deployment))
        return rollout

    async def _until_rolled_out(self) -> Deployment:
        """Show the rollout's progress until it has ended."""
        with progress(counted=False) as bar:
            task = bar.add_task("rollout", total=None)
            while True:
                deployment = await self._deployment()
                if deployment.HasField("rollout"):
                    state = RolloutState.Name(deployment.rollout.state).removeprefix("ROLLOUT_STATE_").lower()
                    counts = deployment.rollout.counts
                    text = f"{state}, {counts.requests} requests, {counts.candidate} by the candidate"
                    bar.update(task, description=text)
                    if deployment.rollout.state in ENDED:
                        return deployment
                await asyncio.sleep(POLL_S)

    async def finish(self, evaluation: Evaluation) -> None:
        """Verify the consequence of the verdict: a rollout if the gate passed, else none."""
        if evaluation.verdict == Verdict.VERDICT_PASSED:
            await self.roll_out()
        else:
            await self.unchanged()

    async def unchanged(self) -> None:
        """Report that the baseline is still live."""
        deployment = await self._deployment()
        state = "none" if not deployment.HasField("rollout") else RolloutState.Name(deployment.rollout.state)
        self.report.add("rollout", state=state, live_model=deployment.live.model)
        stdout.print(f"   No rollout; live model: {deployment.live.model}")

    async def after(self) -> None:
        """Ask some of the questions again, and print both answers."""
        shown = list(self.before)[:: max(1, len(self.before) // SHOWN)][:SHOWN]

        async def one(question: str) -> None:
            now = text_of(await self._ask(question, end_user="user-00"))
            stdout.print(f"   [bold]{escape(question)}[/]", highlight=False)
            stdout.print(f"     [dim]before:[/] {escape(_short(self.before[question]))}", highlight=False)
            stdout.print(f"     [dim]after: [/] {escape(_short(now))}", highlight=False)
            self.report.add("after", **{question: {"before": self.before[question], "after": now}})

        await for_each(shown, one, max_concurrent=1)

    async def apply_again(self) -> None:
        """Apply the same file again: it must not undo the promotion."""
        changes = await Planner(self.connection, read_loop(self.example.loop)).apply()
        changed = sum(change.changes for change in changes)
        self.report.add("apply", changed_after_the_turn=changed)
        stdout.print(f"   {self.example.loop.name} applied again: {changed} changed")

    async def lineage(self, model_version: str) -> None:
        """Print the candidate's upstream and downstream lineage."""
        for direction, way in (("back", LINEAGE_DIRECTION_BACK), ("forward", LINEAGE_DIRECTION_FORWARD)):
            request = GetLineageRequest(kind="model_version", id=model_version, direction=way, nodes_of_kind=8)
            found = await self.connection.lineage.GetLineage(request)
            counts = Counter[str]()
            for node in found.nodes:
                counts[node.kind] += 1 + node.folded
            self.report.add("lineage", **{direction: dict(counts)})
            text = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items())
            stdout.print(f"   {direction} from {model_version}: {text}", highlight=False)

    async def pictures(self, model_version: str) -> dict[str, Any]:
        """Return the data of the report's plots except the scores: losses, timeline and lineage."""
        timeline = await self.connection.lineage.GetTimeline(GetTimelineRequest(deployment=DEPLOYMENT))
        request = GetLineageRequest(
            kind="model_version", id=model_version, direction=LINEAGE_DIRECTION_BACK, nodes_of_kind=6
        )
        return {
            "losses": self.losses,
            "timeline": [plain(entry) for entry in timeline.entries],
            "lineage": await self.connection.lineage.GetLineage(request),
        }

    async def _live(self, document: CorpusDocument, end_user: str) -> Inference:
        inference = await self._ask(document.question, end_user=end_user)
        rating = 1.0 if _alike(text_of(inference), document.answer) else 0.5
        await self._submit(inference.id, {"metric": "rating", "number": rating})
        return inference

    async def _deployment(self) -> Deployment:
        return (await self.connection.deployments.GetDeployment(GetDeploymentRequest(id=DEPLOYMENT))).deployment

    async def _ask(
        self, question: str, *, end_user: str, request_id: str = "", sampling: Sampling | None = None
    ) -> Inference:
        request = GenerateRequest(
            request_id=request_id or str(uuid.uuid4()),
            deployment=DEPLOYMENT,
            messages=[user(question)],
            end_user=end_user,
            sampling=sampling,
        )
        return (await self.connection.inferences.Generate(request, timeout=120)).inference

    async def _submit(self, inference: str, value: dict[str, object]) -> None:
        feedback = Feedback(inference=inference, metric=str(value["metric"]))
        if "number" in value:
            feedback.number = float(str(value["number"]))
        else:
            feedback.correction.CopyFrom(Correction(output=[assistant(_corrected(value))]))
        await self.connection.feedback.SubmitFeedback(SubmitFeedbackRequest(feedback=feedback))


def _serving_after_s(answered: Sequence[Inference], deployment: Deployment) -> float:
    """Return the seconds from the promotion to the promoted model's first token for a later question.

    Raises:
        Internal: another model answered a question that was asked more than a second after the promotion.

    """
    promoted, model = deployment.rollout.finish_time.ToDatetime(), deployment.live.model
    later = [each for each in answered if each.create_time.ToDatetime() >= promoted]
    old = [each for each in later if each.variant.model != model]
    if any(each.create_time.ToDatetime() > promoted + FOLLOWED_WITHIN for each in old):
        message = f"{len(old)} questions were answered by another model after {model} was promoted"
        raise Internal(message)
    begun = [each.create_time.ToDatetime() + each.usage.first_token.ToTimedelta() for each in later if each not in old]
    return round((min(begun) - promoted).total_seconds(), 2)


def _reaction(number: int, right: str, *, answer: str) -> list[dict[str, object]]:
    """Return a simulated user's feedback: a correction unless the answer is right, and sometimes a rating."""
    given: list[dict[str, object]] = []
    if " ".join(answer.split()) != right:
        output = [{"role": "ROLE_ASSISTANT", "parts": [{"text": right}]}]
        given.append({"metric": "correction", "correction": {"output": output}})
    if number % RATED_EVERY == 0:
        given.append({"metric": "rating", "number": 1.0 if _alike(answer, right) else 0.0})
    return given


def _is_choice(feedback: Feedback) -> bool:
    return feedback.HasField("preference")


def _corrected(value: dict[str, Any]) -> str:
    return str(value["correction"]["output"][0]["parts"][0]["text"])


def _alike(answer: str, right: str) -> bool:
    """Return whether an answer contains most words of the right one."""
    requested = set(right.lower().split())
    return len(requested & set(answer.lower().split())) > len(requested) / 2


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= 200 else flat[:199] + "…"  # noqa: PLR2004 - two lines of a terminal
