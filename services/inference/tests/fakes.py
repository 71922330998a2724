"""What stands in for the outside of inference: little engines, a trainer and a rag that are always there."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from tidemill_core.application import Caller, Request
from tidemill_core.errors import Blame, DependencyUnavailable, TidemillError
from tidemill_core.resources import Write
from tidemill_inference.conversations.domain.conversation import Conversation
from tidemill_inference.conversations.domain.errors import ConversationNotFound, MemoryNotFound
from tidemill_inference.conversations.domain.memory import EndUserMemory
from tidemill_inference.conversations.join import JoinConversation
from tidemill_inference.conversations.mongo import CONVERSATIONS, MEMORIES
from tidemill_inference.deployments.domain.configuration import Configuration, Retrieval
from tidemill_inference.deployments.domain.deployment import Deployment
from tidemill_inference.deployments.domain.errors import DeploymentNotFound, ReferenceNotFound
from tidemill_inference.deployments.domain.spec import DeploymentSpec
from tidemill_inference.deployments.mongo import DEPLOYMENTS
from tidemill_inference.engines.ports import Capability, Engine, Finish, Generated, ModelVersion, Piece, Prompt
from tidemill_inference.errors import ModelRefused
from tidemill_inference.generation.answer import AnswerQuestion
from tidemill_inference.generation.domain.content import Message, Passage, Role
from tidemill_inference.generation.domain.errors import InferenceNotFound
from tidemill_inference.generation.domain.inference import Inference
from tidemill_inference.generation.domain.question import Question
from tidemill_inference.generation.generate import GenerateAnswer
from tidemill_inference.generation.mongo import INFERENCES
from tidemill_inference.generation.ports import DocumentVersion, Found, Step
from tidemill_inference.generation.read_inferences import ReadInferences
from tidemill_inference.generation.reservation import Reservations
from tidemill_inference.generation.shared import SharedGenerations
from tidemill_inference.prompts.domain.errors import PromptNotFound
from tidemill_inference.prompts.domain.prompt import Prompt as PromptTemplate
from tidemill_inference.prompts.domain.prompt import PromptContent
from tidemill_inference.prompts.jinja_templates import JinjaTemplates
from tidemill_inference.prompts.mongo import PROMPTS
from tidemill_inference.prompts.ports import CheckedPrompt, PromptInput
from tidemill_inference.routing.domain.attempt import AttemptKind
from tidemill_inference.routing.endpoints import Endpoints
from tidemill_inference.routing.route import RouteModels
from tidemill_testkit.clocks import NOON, FixedClock
from tidemill_testkit.stores import InMemoryAggregates

ADA = Caller(project="acme", subject="ada", roles=frozenset({"operator"}))
HANDBOOK = (
    Passage(id="1", document="d1", version=3, start=0, end=40, score=0.9, text="os.walk walks a directory tree."),
    Passage(id="2", document="d2", version=1, start=5, end=30, score=0.5, text="json.dumps writes an object as text."),
)
PROMPT = PromptContent(
    system="Answer from the passages.",
    user="{% for passage in passages %}[{{ passage.id }}] {{ passage.text }}\n{% endfor %}{{ question }}",
)


@dataclass(kw_only=True)
class ScriptedEngine:
    """Says what the test sets, a word at a time; `gate` closed holds it, but for its first `free_words`.

    `yields` is yielded instead, where it is set.
    """

    says: str = "os.walk walks a directory tree."
    yields: Sequence[Generated] = ()
    capabilities: frozenset[Capability] = frozenset(Capability)
    fails_before: Exception | None = None
    fails_after: TidemillError | None = None
    free_words: int = 0
    context_tokens: int | None = None
    fingerprint: str = "scripted 1"
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    runs: int = 0
    stops: int = 0
    seen: list[Prompt] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def count_tokens(self, prompt: Prompt) -> int | None:
        return sum(len(message.text.split()) for message in prompt.messages) if self.context_tokens else None

    async def generate(self, prompt: Prompt, *, timeout_s: float) -> AsyncGenerator[Generated, None]:
        self.runs += 1
        self.seen.append(prompt)
        try:
            if self.fails_before:
                raise self.fails_before
            for each in self.yields:
                yield each
            if self.yields:
                return
            words = self.says.split(" ")
            for number, word in enumerate(words):
                if number >= self.free_words:
                    async with asyncio.timeout(timeout_s):
                        await self.gate.wait()
                yield Piece(text=word if number == 0 else f" {word}")
            if self.fails_after:
                raise self.fails_after
            yield Finish(reason="stop", input_tokens=10, output_tokens=len(words))
        finally:
            self.stops += 1


class ScriptedEngines:
    """One engine per model version."""

    def __init__(self, **engines: ScriptedEngine) -> None:
        self.engines = engines
        self.kept: set[tuple[str, str, str]] = set()
        self.damaged: dict[str, str] = {}
        self.full = False
        self.verified = 0

    @asynccontextmanager
    async def use(self, project: str, model: ModelVersion) -> AsyncIterator[Engine]:
        assert project
        if self.full:
            message = "the memory for models is used up"
            raise DependencyUnavailable(message, dependency="memory", blame=Blame.CAPACITY, model=model.id)
        yield self.engines[model.id.partition("@")[0]]

    async def verify(self, project: str, model: ModelVersion) -> None:
        assert project
        self.verified += 1
        if why := self.damaged.get(model.id):
            raise ModelRefused(model.id, why=why)

    async def prepare(self, project: str, model: ModelVersion, *, holder: str) -> None:
        async with self.use(project, model):
            self.kept.add((project, model.id, holder))

    async def release(self, project: str, model: ModelVersion, *, holder: str) -> None:
        self.kept.discard((project, model.id, holder))


class Registry:
    """A trainer that knows these models, each in version 1 or as said."""

    def __init__(self, **versions: int) -> None:
        self.versions = versions
        self.down: TidemillError | None = None

    async def resolve(self, caller: Caller, reference: str, *, field: str) -> ModelVersion:
        assert caller.project
        if self.down:
            raise self.down
        name, _, number = reference.partition("@")
        if name not in self.versions:
            raise ReferenceNotFound(reference, field=field, known=sorted(self.versions))
        return ModelVersion(id=f"{name}@{number or self.versions[name]}", digest=name)


class Handbook:
    """A rag with one collection, whose passages answer everything."""

    def __init__(self, passages: Sequence[Passage] = HANDBOOK) -> None:
        self.passages = tuple(passages)
        self.down: TidemillError | None = None
        self.takes_s = 0.0
        self.broken = dict[int, TidemillError]()
        """Index versions that cannot be searched."""
        self.slow_s = dict[int, float]()
        self.found: dict[bool, tuple[Passage, ...]] = {}
        """What is found by a query of one turn (False) or of several, where that is not `passages`."""
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self.indexes: list[int] = []
        """The index versions that were searched, 0 for the live one, which is 4."""

    async def check(self, caller: Caller, retrieval: Retrieval) -> None:
        assert caller.project
        if retrieval.collection != "handbook":
            raise ReferenceNotFound(retrieval.collection, field="retrieval.collection", known=["handbook"])

    async def search(
        self, caller: Caller, retrieval: Retrieval, *, question: str, principals: Sequence[str], timeout_s: float
    ) -> Found:
        assert caller.project
        assert timeout_s > 0
        self.asked.append((question, tuple(principals)))
        self.indexes.append(retrieval.index)
        await asyncio.sleep(self.slow_s.get(retrieval.index, self.takes_s))
        if error := self.down or self.broken.get(retrieval.index):
            raise error
        passages = self.found.get("\n" in question, self.passages)
        return Found(passages=passages[: retrieval.top_k], index=retrieval.index or 4)


def prompt_named(name: str, content: PromptContent = PROMPT) -> PromptTemplate:
    prompt = PromptTemplate(id=name, project=ADA.project)
    prompt.write(content, digest="d", now=NOON)
    return prompt


def helpdesk(**changes: object) -> Deployment:
    spec = DeploymentSpec(
        **{  # type: ignore[arg-type] # the test says what it changes
            "model": "smollm2",
            "prompt": "answer",
            "retrieval": Retrieval(collection="handbook"),
            **changes,
        }
    )
    live = Configuration.of(
        model="smollm2@1",
        prompt="answer@1",
        retrieval=spec.retrieval,
        sampling=spec.sampling,
        fallback=tuple(f"{name}@1" for name in spec.fallback),
        examples=spec.examples,
    )
    return Deployment(id="helpdesk", project=ADA.project, spec=spec, live=live)


class DirectTemplates:
    """Implements `Templates` in this process, without its bounds."""

    def __init__(self) -> None:
        self._templates = JinjaTemplates()

    async def check(self, _project: str, content: PromptContent) -> CheckedPrompt:
        return self._templates.check(content)

    async def check_variables(self, _project: str, content: PromptContent, variables: Mapping[str, object]) -> None:
        self._templates.check_variables(content, variables)

    async def render(self, _project: str, content: PromptContent, given: PromptInput) -> tuple[Message, ...]:
        return self._templates.render(content, given)


@dataclass
class FakeReaders:
    """An ingest whose documents have readers, by their ids; implements `ports.DocumentReaders`."""

    readers: dict[str, set[str]] = field(default_factory=dict)
    asked: int = 0

    async def restricted(
        self, _caller: Caller, versions: Sequence[DocumentVersion], *, principals: Sequence[str]
    ) -> frozenset[DocumentVersion]:
        self.asked += 1
        return frozenset(
            each for each in versions if each[0] in self.readers and not self.readers[each[0]] & set(principals)
        )


@dataclass
class FakeObserver:
    """Implements `routing.ports.ObserveRouting`."""

    attempts: list[tuple[str, str, str]] = field(default_factory=list)
    fallbacks: list[tuple[str, str]] = field(default_factory=list)
    circuits: list[tuple[str, bool]] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)

    def attempt(self, _project: str, model: str, kind: AttemptKind, outcome: str) -> None:
        self.attempts.append((model, kind.value, outcome))

    def fallback(self, _project: str, model: str, reason: str) -> None:
        self.fallbacks.append((model, reason))

    def circuit(self, _project: str, model: str, *, is_open: bool, failures: int) -> None:
        assert failures >= 0
        self.circuits.append((model, is_open))

    def forget(self, _project: str, model: str) -> None:
        self.forgotten.append(model)


async def _at_once(_pause_s: float) -> None:
    """Pause no longer than it takes others to run."""
    await asyncio.sleep(0)


class AnsweringHarness:
    """AnswerQuestion with everything around it; `replica()` is a second process on the same stores."""

    def __init__(
        self,
        engine: ScriptedEngine | None = None,
        *,
        deployment: Deployment | None = None,
        prompt: PromptContent = PROMPT,
        passages: Sequence[Passage] = HANDBOOK,
        **fallbacks: ScriptedEngine,
    ) -> None:
        self.clock = FixedClock()
        self.engine = engine or ScriptedEngine()
        self.engines = ScriptedEngines(smollm2=self.engine, **fallbacks)
        self.rag = Handbook(passages)
        self.prompts = InMemoryAggregates(prompt_named("answer", prompt), codec=PROMPTS, missing=PromptNotFound)
        self.deployments = InMemoryAggregates(deployment or helpdesk(), codec=DEPLOYMENTS, missing=DeploymentNotFound)
        self.inferences: InMemoryAggregates[Inference] = InMemoryAggregates(
            codec=INFERENCES, missing=InferenceNotFound, clock=self.clock
        )
        self.readers = FakeReaders()
        self.reading = ReadInferences(inferences=self.inferences, readers=self.readers)
        self.conversations = InMemoryAggregates[Conversation](
            codec=CONVERSATIONS, missing=ConversationNotFound, clock=self.clock
        )
        self.memories = InMemoryAggregates[EndUserMemory](codec=MEMORIES, missing=MemoryNotFound, clock=self.clock)
        self.registry = Registry(smollm2=1, **dict.fromkeys(fallbacks, 1))
        self.routing = FakeObserver()
        self.router = RouteModels(
            models=self.registry,
            endpoints=Endpoints(self.routing, threshold=5, open_s=30.0),
            observe=self.routing,
            sleep=_at_once,
        )
        self.answer = self.replica()

    def replica(self, *, ttl: timedelta = timedelta(seconds=15), at_most: int = 10) -> AnswerQuestion:
        templates = DirectTemplates()
        return AnswerQuestion(
            deployments=self.deployments,
            prompts=self.prompts,
            stored_prompts=self.prompts,
            inferences=self.inferences,
            templates=templates,
            generations=SharedGenerations(at_most=at_most),
            reservations=Reservations(inferences=self.inferences, clock=self.clock, ttl=ttl, poll_s=0.01),
            make=GenerateAnswer(
                templates=templates,
                models=self.registry,
                router=self.router,
                retriever=self.rag,
                engines=self.engines,
            ),
            conversing=self.joining(),
        )

    def joining(self, **changes: Any) -> JoinConversation:  # noqa: ANN401 - fields of it
        return JoinConversation(
            conversations=self.conversations,
            memories=self.memories,
            inferences=self.inferences,
            clock=self.clock,
            **changes,
        )

    async def stored(self, inference: Inference) -> Inference:
        return await self.inferences.get(inference.project, inference.id)

    async def only_record(self) -> Inference:
        (record,) = self.inferences.all()
        return record


def question(text: str = "What does os.walk do?", **changes: object) -> Question:
    return Question(
        **{  # type: ignore[arg-type] # the test says what it changes
            "deployment": "helpdesk",
            "messages": (Message.of(Role.USER, text),),
            **changes,
        }
    )


def asking(request_id: str, digest: str = "body") -> Request:
    return Request(id=request_id, digest=digest)


def writing(request_id: str, *, etag: str = "", validate_only: bool = False) -> Write:
    return Write(request=asking(request_id), etag=etag, validate_only=validate_only)


async def all_steps(steps: AsyncGenerator[Step, None]) -> list[Step]:
    async with aclosing(steps):
        return [step async for step in steps]
