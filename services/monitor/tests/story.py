"""A turn of the loop as its services' events."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tidemill_monitor.events.meta import EventMeta
from tidemill_monitor.events.subscription import EVENT_TYPES, model_of
from tidemill_monitor.examples.domain import ExampleIds
from tidemill_testkit.clocks import NOON

LIVE, NEW = "c" * 64, "d" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """One event as it stands in Kafka."""

    type: str
    subject: str
    data: dict[str, Any]
    time: datetime

    @property
    def meta(self) -> EventMeta:
        return EventMeta(type=self.type, time=self.time)

    @property
    def body(self) -> object:
        body: object = model_of(EVENT_TYPES[self.type]).model_validate_json(json.dumps(self.data)).root
        return body

    @property
    def topic(self) -> str:
        service, aggregate = self.type.split(".")[1:3]
        return f"tidemill.{service}.{'deployment' if aggregate == 'rollout' else aggregate}.v1"


@dataclass(slots=True)
class Story:
    """Events in the order in which they happened, a second apart."""

    now: datetime = NOON
    events: list[Event] = field(default_factory=list)
    batches: dict[str, Sequence[ExampleIds]] = field(default_factory=dict)

    def record(self, meta: str, subject: str, /, **data: Any) -> None:  # noqa: ANN401 - JSON
        self.now += timedelta(seconds=1)
        named = {**data, "seq": str(data.get("seq", 1))}
        self.events.append(Event(f"tidemill.{meta}.v1", subject, named, self.now))

    def document(self, name: str, *, number: int = 1, meta: str = "ingested") -> None:
        version = {
            "number": number,
            "revision": "7",
            "media_type": "text/markdown",
            "create_time": self.now.isoformat(),
        }
        body = {"document": name, "source": "cms", "key": f"kb/{name}", "version": version}
        self.record(f"ingest.document.{meta}", name, seq=number, **body)

    def answer(  # noqa: PLR0913 - a fixture has as many handles as the event
        self,
        name: str,
        *,
        model: str = "smollm2@1",
        documents: Sequence[str] = ("d1", "d2"),
        variant: str = "live",
        rollout: str = "",
        purpose: str = "PURPOSE_LIVE",
    ) -> None:
        used = [{"document": each, "version": 1, "cited": each == documents[0]} for each in documents]
        updates = {"name": variant, "rollout": rollout, "configuration": LIVE, "model": model, "prompt": "answer@2"}
        self.record(
            "inference.inference.completed",
            name,
            inference=name,
            deployment="helpdesk",
            variant={**updates, "index": 4},
            purpose=purpose,
            end_user="u-17",
            request_id="request-17",
            documents=used,
            usage={"input_tokens": 210, "output_tokens": 24, "total": "1.750s"},
            create_time=self.now.isoformat(),
            citation_valid=1.0,
        )

    def triggers(self, name: str, inference: str) -> None:
        body = {"feedback": name, "inference": inference, "deployment": "helpdesk", "metric": "correction"}
        self.record("feedback.feedback.recorded", name, end_user="u-17", rater="user", variant="live", **body)

    def curate(self, *, seq: int, examples: Sequence[tuple[str, str]], project: str = "acme") -> None:
        key = f"{project}/helpdesk_sft/{seq:064d}"
        batch = {"bucket": "feedback", "key": key, "size": "100", "sha256": "a" * 64, "examples": len(examples)}
        body = {"curation": "helpdesk_sft", "dataset": "helpdesk_sft", "deployment": "helpdesk", "batch": batch}
        self.record("feedback.curation.completed", "helpdesk_sft", seq=seq, new_examples=len(examples), **body)
        self.batches[key] = [ExampleIds(feedback, inference) for feedback, inference in examples]

    def publish(self, number: int = 1, *, curation_seq: int = 1) -> None:
        version = f"helpdesk_sft@{number}"
        parts = {"train": {"examples": 140}, "held_out": {"examples": 60}}
        source = {"curation": "helpdesk_sft", "curation_seq": str(curation_seq), "deployment": "helpdesk"}
        named = {"dataset": "helpdesk_sft", "version": version, "digest": "e" * 64}
        self.record("ingest.dataset.version_published", "helpdesk_sft", seq=number, **named, **parts, **source)

    def train(self, run: str = "run-1", *, number: int = 1, dataset: str = "helpdesk_sft@1") -> None:
        plan, version = "helpdesk_lora", f"helpdesk_lora@{number}"
        named = {"run": run, "plan": plan, "dataset_version": dataset}
        self.record("trainer.run.queued", run, **named, base="smollm2@1")
        registered = {"version": version, "model": plan, "digest": "f" * 64, "total_bytes": "3400000"}
        made_of = {"run": run, "base": "smollm2@1", "dataset_version": dataset}
        self.record("trainer.model.version_registered", version, **registered, **made_of)
        self.record("trainer.run.succeeded", run, seq=2, **named, model_version=version, time="74.200s", loss=0.413)

    def evaluate(
        self, name: str = "ev-1", *, verdict: str = "VERDICT_PASSED", candidate: str = "helpdesk_lora@1"
    ) -> None:
        named = {"evaluation": name, "gate": "helpdesk_gate", "deployment": "helpdesk", "candidate": candidate}
        named |= {"baseline": "smollm2@1", "baseline_configuration": LIVE}
        self.record("evaluator.evaluation.started", name, **named, dataset_version="helpdesk_sft@1")
        held_out = {
            "case_set": "dataset:helpdesk_sft@1:held_out",
            "metric": "rouge_l",
            "cases": 48,
            "baseline": 0.205,
            "candidate": 0.729,
            "difference": 0.524,
            "low": 0.431,
            "high": 0.612,
            "required": True,
            "gain_above": 0.0,
            "holds": verdict == "VERDICT_PASSED",
        }
        self.record(
            "evaluator.evaluation.completed",
            name,
            seq=2,
            **named,
            verdict=verdict,
            comparisons=[held_out],
        )

    def roll(self, meta: str, *, seq: int, rollout: str = "ro-1", **more: Any) -> None:  # noqa: ANN401 - JSON
        named = {"deployment": "helpdesk", "rollout": rollout, "candidate": "helpdesk_lora@1", "configuration": NEW}
        self.record(f"inference.rollout.{meta}", "helpdesk", seq=seq, **named, evaluation="ev-1", **more)

    def configure(self, *, seq: int, model: str, configuration: str, replaced: str = "") -> None:
        body = {"deployment": "helpdesk", "model": model, "configuration": configuration, "replaced": replaced}
        self.record("inference.deployment.configured", "helpdesk", seq=seq, prompt="answer@2", **body)


def a_turn(*, reactions: int = 3) -> Story:
    """Return a whole turn: documents, answers, corrections, a version, a run, a gate, a promotion, new answers."""
    story = Story()
    for name in ("d1", "d2"):
        story.document(name)
    story.record("trainer.model.version_registered", "smollm2@1", version="smollm2@1", model="smollm2", digest="b" * 64)
    story.configure(seq=1, model="smollm2@1", configuration=LIVE)
    for number in range(reactions):
        story.answer(f"inf-{number:03d}")
        story.triggers(f"fb-{number:03d}", f"inf-{number:03d}")
    story.curate(seq=1, examples=[(f"fb-{number:03d}", f"inf-{number:03d}") for number in range(reactions)])
    story.publish()
    story.train()
    story.evaluate()
    story.roll("started", seq=2, baseline_configuration=LIVE)
    story.roll("advanced", seq=3, state="ROLLOUT_STATE_SHADOW", step=0, weight=0, message="0 of 10 requests")
    story.roll("advanced", seq=4, state="ROLLOUT_STATE_CANARY", step=1, weight=50, message="")
    story.answer("canary-1", model="helpdesk_lora@1", variant="candidate", rollout="ro-1")
    story.answer("canary-2", variant="live", rollout="ro-1")
    story.roll("promoted", seq=5, reason="STEPS_DONE", message="every step was passed", replaced=LIVE)
    story.configure(seq=6, model="helpdesk_lora@1", configuration=NEW, replaced=LIVE)
    story.answer("after-1", model="helpdesk_lora@1")
    return story
