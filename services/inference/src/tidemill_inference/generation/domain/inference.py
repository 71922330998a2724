"""One answer and everything that explains it: reserved under a lease, then completed, failed or cancelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum

from tidemill_core.aggregate import Aggregate, Event
from tidemill_core.errors import RequestIdReused
from tidemill_inference.caching.domain.use import CacheUse
from tidemill_inference.deployments.domain.spec import RecordMode
from tidemill_inference.examples.domain.example_set import ShownExamples
from tidemill_inference.generation.domain.content import Candidate, Message, Passage, TokenLogprob
from tidemill_inference.generation.domain.errors import LeaseLost
from tidemill_inference.generation.domain.history import HistoryUse
from tidemill_inference.generation.domain.parameters import Parameters
from tidemill_inference.generation.domain.question import Purpose, Question
from tidemill_inference.prices.domain.price import Cost
from tidemill_inference.routing.domain.attempt import Attempt


class State(Enum):
    """Where an inference stands; only COMPLETED is final for its request id."""

    RESERVED = 1
    COMPLETED = 2
    CANCELLED = 3
    FAILED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What answered, in full; `index` 0 searched nothing, and `rollout` is "" outside of one."""

    name: str
    configuration: str
    model: str
    prompt: str
    index: int = 0
    engine: str = ""
    rollout: str = ""
    experiment: str = ""
    """The run of an experiment, whose arm is `name`; "" outside of one."""
    provider_model: str = ""
    """What the answer of a remote model says of itself, as `engines.ports.ProviderIdentity`."""
    system_fingerprint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an answer cost."""

    input_tokens: int
    output_tokens: int
    first_token_s: float
    total_s: float
    search_s: float
    cached_input_tokens: int = 0
    """Of the input tokens, those that the engine had in its cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. `citation_valid` is the share of its sentences that a passage supports, None without passages."""

    output: tuple[Message, ...]
    variant: Variant
    passages: tuple[Passage, ...]
    usage: Usage
    finish_reason: str
    warnings: tuple[str, ...] = ()
    citation_valid: float | None = None
    history: HistoryUse | None = None
    """What it was given of what was said before."""
    attempts: tuple[Attempt, ...] = ()
    alternatives: tuple[Candidate, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    cost: Cost | None = None
    budget_hold: str = ""
    queue_wait_s: float | None = None
    cache: CacheUse | None = None
    """Whose answer it is, if it was given again."""
    examples: ShownExamples | None = None
    """What it was given as examples."""

    @property
    def cited(self) -> frozenset[str]:
        """The ids of the passages that it cites."""
        parts = (part for message in self.output for part in message.parts)
        return frozenset(citation.passage for part in parts for citation in part.citations)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to answer. A takeover increments `epoch`, which fences the previous holder."""

    owner: str
    epoch: int
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentUse:
    """A document version that an answer was given, and whether the answer cites it."""

    document: str
    version: int
    cited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceWasCompleted(Event):
    """The answer is final. Facts about its text are in the record; `documents` lists its sources."""

    documents: tuple[DocumentUse, ...]
    citations: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceHasFailed(Event):
    """It did not come to an answer."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceWasCancelled(Event):
    """Its last listener left."""


@dataclass(slots=True, kw_only=True)
class Inference(Aggregate):
    """The record of one request id. What it keeps of question and answer is up to its mode."""

    request_id: str
    request_digest: str
    deployment: str
    purpose: Purpose = Purpose.LIVE
    record: RecordMode = RecordMode.FULL
    end_user: str = ""
    state: State = State.RESERVED
    lease: Lease | None = None
    variant: Variant | None = None
    messages: tuple[Message, ...] = ()
    variables: Mapping[str, object] = field(default_factory=dict)
    principals: tuple[str, ...] = ()
    output: tuple[Message, ...] = ()
    passages: tuple[Passage, ...] = ()
    usage: Usage | None = None
    finish_reason: str = ""
    warnings: tuple[str, ...] = ()
    failure: str = ""
    citation_valid: float | None = None
    finish_time: datetime | None = None
    conversation: str = ""
    history: HistoryUse | None = None
    attempts: tuple[Attempt, ...] = ()
    """The calls of models for it, also of one that failed or was cancelled; none in records of mode NONE."""
    alternatives: tuple[Candidate, ...] = ()
    cache: CacheUse | None = None
    examples: ShownExamples | None = None
    """Those that stood before the question, by their ids: their texts are in the dataset version."""
    parameters: Parameters | None = None
    """Of an answer that can be shown again, and gone on from, as long as it is there."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of a copy for a caller, never stored: they are the answer once more, and many times as long."""
    cost: Cost | None = None
    budget_hold: str = ""
    """What the answer had reserved of budgets; it says whose reservation the cost is of."""
    queue_wait_s: float | None = None
    restricted: bool = False
    """Ditto: something is left out of it."""

    def __deepcopy__(self, _copied: object) -> "Inference":
        """Return a copy that shares values, which never change, and no collection that may."""
        return replace(self, labels=dict(self.labels), pending=list(self.pending))

    @property
    def turn(self) -> tuple[Message, ...]:
        """Question and answer as those that follow are given them."""
        begin = 1 if self.parameters and self.parameters.instructed else 0
        return (*self.messages[begin:], *self.output)

    def reserve(self, lease: Lease, fresh: "Inference", *, variant: Variant, now: datetime) -> None:
        """Acquire the lease, unless the answer is complete or another process holds it; increments the epoch.

        `fresh` is the record of this attempt: the record mode may have changed since the last one.

        Raises:
            RequestIdReused: the request id belongs to another body.

        """
        if self.request_digest != fresh.request_digest:
            raise RequestIdReused(self.request_id)
        if self.state is State.COMPLETED:
            return
        held = self.lease is not None and self.state is State.RESERVED and self.lease.until > now
        if held:
            return
        self.lease = replace(lease, epoch=(self.lease.epoch if self.lease else 0) + 1)
        self.state, self.variant, self.failure, self.finish_reason = State.RESERVED, variant, "", ""
        self.finish_time, self.attempts, self.examples = None, (), None
        self.cost, self.budget_hold, self.queue_wait_s = None, "", None
        self.record, self.end_user, self.labels = fresh.record, fresh.end_user, fresh.labels
        self.messages, self.variables, self.principals = fresh.messages, fresh.variables, fresh.principals
        self.conversation, self.parameters = fresh.conversation, fresh.parameters

    def holds(self, owner: str) -> bool:
        """Whether this owner is the one to answer."""
        return self.state is State.RESERVED and self.lease is not None and self.lease.owner == owner

    def renew(self, lease: Lease) -> None:
        """Hold the right for longer.

        Raises:
            LeaseLost: it is not the holder's any more.

        """
        self._check(lease)
        self.lease = lease

    def complete(self, lease: Lease, answer: Answer, *, now: datetime) -> None:
        """Complete with the answer, finally.

        Raises:
            LeaseLost: another replica has taken it over.

        """
        self._check(lease)
        self.state, self.finish_time = State.COMPLETED, now
        self.variant, self.finish_reason = answer.variant, answer.finish_reason
        self.warnings, self.citation_valid = answer.warnings, answer.citation_valid
        self.cost, self.budget_hold, self.queue_wait_s = answer.cost, answer.budget_hold, answer.queue_wait_s
        if self.record is not RecordMode.NONE:
            self.usage, self.attempts, self.cache = answer.usage, answer.attempts, answer.cache
            self.examples = answer.examples
            self.passages = tuple(replace(passage, text="") for passage in answer.passages)
        if self.record is RecordMode.FULL:
            self.output, self.alternatives, self.history = answer.output, answer.alternatives, answer.history
        documents = {(each.document, each.version): False for each in self.passages}
        for each in self.passages:
            documents[each.document, each.version] |= each.id in answer.cited
        uses = tuple(DocumentUse(document=name, version=v, cited=cited) for (name, v), cited in documents.items())
        self.pending.append(InferenceWasCompleted(occurred_at=now, documents=uses, citations=len(answer.cited)))

    def fail(
        self,
        lease: Lease,
        *,
        reason: str,
        now: datetime,
        attempts: Sequence[Attempt] = (),
        cost: Cost | None = None,
    ) -> None:
        """Record the failure; the same request id may try again.

        Raises:
            LeaseLost: another replica has taken it over.

        """
        self._check(lease)
        self.state, self.failure, self.finish_time, self.cost = State.FAILED, reason, now, cost
        self._tried(attempts)
        self.pending.append(InferenceHasFailed(occurred_at=now, reason=reason))

    def cancel(
        self, lease: Lease, *, now: datetime, attempts: Sequence[Attempt] = (), cost: Cost | None = None
    ) -> None:
        """Record the cancellation by the last client; the same request id may try again.

        Raises:
            LeaseLost: another replica has taken it over.

        """
        self._check(lease)
        self.state, self.finish_reason, self.finish_time, self.cost = State.CANCELLED, "cancelled", now, cost
        self._tried(attempts)
        self.pending.append(InferenceWasCancelled(occurred_at=now))

    def erase(self, *, now: datetime) -> None:
        """Erase user, question and answer; counts stay. A running answer is cancelled."""
        if self.state is State.RESERVED:
            self.state, self.finish_reason, self.finish_time = State.CANCELLED, "cancelled", now
            self.pending.append(InferenceWasCancelled(occurred_at=now))
        self.lease, self.record, self.end_user, self.labels = None, RecordMode.NONE, "", {}
        self.messages, self.variables, self.principals, self.output, self.passages = (), {}, (), (), ()
        self.alternatives, self.conversation, self.history, self.parameters = (), "", None, None
        self.examples = None

    def forget_names_of(self, document: str) -> None:
        """Say no more how a document was called; what was answered on it stays."""
        self.passages = tuple(each.unnamed() if each.document == document else each for each in self.passages)

    def _tried(self, attempts: Sequence[Attempt]) -> None:
        if self.record is not RecordMode.NONE:
            self.attempts = tuple(attempts)

    def _check(self, lease: Lease) -> None:
        held = self.lease is not None and (self.lease.owner, self.lease.epoch) == (lease.owner, lease.epoch)
        if self.state is not State.RESERVED or not held:
            raise LeaseLost(self.id)


def reserved(question: Question, *, inference_id: str, project: str, request_id: str, digest: str) -> Inference:
    """Return the record of a question before a process holds its lease.

    `question.record` is the mode after the deployment's limit was applied.
    """
    mode = question.record or RecordMode.FULL
    return Inference(
        id=inference_id,
        project=project,
        request_id=request_id,
        request_digest=digest,
        deployment=question.deployment,
        purpose=question.purpose,
        record=mode,
        end_user=question.end_user if mode is not RecordMode.NONE else "",
        labels=dict(question.labels) if mode is not RecordMode.NONE else {},
        messages=question.messages if mode is RecordMode.FULL else (),
        variables=question.variables if mode is RecordMode.FULL else {},
        principals=question.principals if mode is RecordMode.FULL else (),
        conversation=question.conversation if mode is RecordMode.FULL else "",
        parameters=Parameters.of(question) if mode is RecordMode.FULL and question.store else None,
    )
