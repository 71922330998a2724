"""Addresses of the services, and one gRPC channel to each."""

import importlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from tidemill_client.logins import credential_of_login
from tidemill_core.errors import InvalidInput, PreconditionFailed
from tidemill_core.grpc.client import open_channel
from tidemill_core.grpc.context import PROJECT_FORM, PROJECT_SLUG
from tidemill_core.grpc.credentials import Credential, FileCredential
from tidemill_core.transport_security import Tls, host_of, is_loopback

if TYPE_CHECKING:  # a command loads only the stubs that it uses
    import grpc.aio

    from tidemill.evaluator.v1.evaluation_service_pb2_grpc import EvaluationServiceStub
    from tidemill.evaluator.v1.harness_run_service_pb2_grpc import HarnessRunServiceStub
    from tidemill.evaluator.v1.judge_service_pb2_grpc import JudgeServiceStub
    from tidemill.evaluator.v1.prompt_test_service_pb2_grpc import PromptTestServiceStub
    from tidemill.evaluator.v1.retrieval_evaluation_service_pb2_grpc import RetrievalEvaluationServiceStub
    from tidemill.evaluator.v1.suite_proposal_service_pb2_grpc import SuiteProposalServiceStub
    from tidemill.evaluator.v1.suite_service_pb2_grpc import SuiteServiceStub
    from tidemill.feedback.v1.curation_service_pb2_grpc import CurationServiceStub
    from tidemill.feedback.v1.feedback_metric_service_pb2_grpc import FeedbackMetricServiceStub
    from tidemill.feedback.v1.feedback_service_pb2_grpc import FeedbackServiceStub
    from tidemill.feedback.v1.review_service_pb2_grpc import ReviewServiceStub
    from tidemill.inference.v1.batch_service_pb2_grpc import BatchServiceStub
    from tidemill.inference.v1.budget_service_pb2_grpc import BudgetServiceStub
    from tidemill.inference.v1.conversation_service_pb2_grpc import ConversationServiceStub
    from tidemill.inference.v1.deployment_service_pb2_grpc import DeploymentServiceStub
    from tidemill.inference.v1.experiment_service_pb2_grpc import ExperimentServiceStub
    from tidemill.inference.v1.file_service_pb2_grpc import FileServiceStub
    from tidemill.inference.v1.inference_service_pb2_grpc import InferenceServiceStub
    from tidemill.inference.v1.price_service_pb2_grpc import PriceServiceStub
    from tidemill.inference.v1.prompt_service_pb2_grpc import PromptServiceStub
    from tidemill.inference.v1.secret_service_pb2_grpc import SecretServiceStub
    from tidemill.ingest.v1.dataset_service_pb2_grpc import DatasetServiceStub
    from tidemill.ingest.v1.document_service_pb2_grpc import DocumentServiceStub
    from tidemill.ingest.v1.profile_service_pb2_grpc import ProfileServiceStub
    from tidemill.ingest.v1.source_service_pb2_grpc import SourceServiceStub
    from tidemill.monitor.v1.access_service_pb2_grpc import AccessServiceStub
    from tidemill.monitor.v1.audit_service_pb2_grpc import AuditServiceStub
    from tidemill.monitor.v1.erasure_service_pb2_grpc import ErasureServiceStub
    from tidemill.monitor.v1.hold_service_pb2_grpc import HoldServiceStub
    from tidemill.monitor.v1.lineage_service_pb2_grpc import LineageServiceStub
    from tidemill.monitor.v1.retention_service_pb2_grpc import RetentionServiceStub
    from tidemill.rag.v1.collection_service_pb2_grpc import CollectionServiceStub
    from tidemill.rag.v1.retrieval_service_pb2_grpc import RetrievalServiceStub
    from tidemill.rag.v1.topic_service_pb2_grpc import TopicServiceStub
    from tidemill.trainer.v1.derivation_service_pb2_grpc import DerivationServiceStub
    from tidemill.trainer.v1.model_registry_service_pb2_grpc import ModelRegistryServiceStub
    from tidemill.trainer.v1.sweep_service_pb2_grpc import SweepServiceStub
    from tidemill.trainer.v1.training_service_pb2_grpc import TrainingServiceStub

SERVICES = ("ingest", "rag", "trainer", "inference", "feedback", "evaluator", "monitor")
CALL_LIMIT_S = 120.0
UPLOAD_LIMIT_S = 3600.0
"""Default deadlines of a call, and of uploading one file of a model."""


class NoAddress(PreconditionFailed):
    """The address of a service or server is not configured."""

    reason = "NO_ADDRESS"


class UnusableTransport(PreconditionFailed):
    """The TLS, SASL or credential settings of the environment are invalid."""

    reason = "UNUSABLE_TRANSPORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """`host:port` of each service's gRPC API, of the OpenAI-compatible endpoint and of Kafka."""

    services: Mapping[str, str]
    http: str = ""
    kafka: str = ""
    kafka_passwords: str = ""
    """The folder with the passwords of Kafka's users of a stack on this machine; empty for every other Kafka."""
    credential_file: str = ""
    """The credential of a stack on this machine: for its own addresses only."""
    with_login: frozenset[str] = frozenset(SERVICES)
    """The services that the token of a login is sent to: those that were named where monitor was."""

    @property
    def publisher_file(self) -> str:
        """The file of the key that signs submissions of a local stack, beside that of its admin; "" where none is."""
        file = Path(self.credential_file).with_name("publisher.json") if self.credential_file else None
        return str(file) if file is not None and file.exists() else ""

    @classmethod
    def find(cls, folder: Path | None = None) -> Self:
        """Return the addresses in TIDEMILL_<NAME>_ADDRESS, else those of the running stack.

        The stack is the one in the nearest `.tidemill/`, from the current directory upwards. Where the environment
        names any address of a service, the stack's credential is left out: it goes to the stack alone. A folder that
        was copied from elsewhere may name any address and file, so a stack gets no stored credential unless it is on
        this machine, and none from outside its folder.
        """
        local = local_folder(folder)
        stack = _stack(local)
        entries = stack.get("services", {})
        running = {name: entry.get("grpc", "") for name, entry in entries.items()}
        given = {name: os.environ.get(f"TIDEMILL_{name.upper()}_ADDRESS", "") for name in SERVICES}
        named = frozenset(name for name in SERVICES if given[name])
        kafka = os.environ.get("TIDEMILL_KAFKA_ADDRESS", "")
        is_here = all(is_loopback(host_of(each)) for each in running.values() if each)
        of_stack = frozenset(SERVICES) - named if is_here else frozenset()
        return cls(
            services={name: given[name] or running.get(name, "") for name in SERVICES},
            http=os.environ.get("TIDEMILL_HTTP_ADDRESS", "") or entries.get("inference", {}).get("http", ""),
            kafka=kafka or stack.get("kafka", ""),
            kafka_passwords="" if kafka else _own_file(stack, "kafka_passwords", local),
            credential_file=_own_file(stack, "credential_file", local) if is_here and not named else "",
            with_login=named if given["monitor"] else of_stack,
        )

    def kafka_password(self, user: str) -> Path | None:
        """Return the file with the password of one of the stack's users of Kafka; None where Kafka is another one."""
        return Path(self.kafka_passwords) / f"{user}.password" if self.kafka_passwords else None

    def of(self, service: str) -> str:
        """Return a service's address.

        Raises:
            NoAddress: neither the environment nor a running stack provides it.

        """
        address = self.services.get(service, "")
        if not address:
            message = (
                f"the address of {service} is not configured: run `tidemill up`, "
                f"or set TIDEMILL_{service.upper()}_ADDRESS"
            )
            raise NoAddress(message, service=service)
        return address


def tls_of_environment() -> Tls:
    """Return TLS as TIDEMILL_TLS_CA_FILE, TIDEMILL_TLS_CERT_FILE and TIDEMILL_TLS_KEY_FILE set it; none is plain text.

    Plain text is for this machine only as long as a credential is sent, unless TIDEMILL_TLS_ALLOW_PLAINTEXT is true.

    Raises:
        UnusableTransport: a file does not exist, or a certificate has no key.

    """
    given = {name: os.environ.get(f"TIDEMILL_TLS_{name}_FILE", "") for name in ("CA", "CERT", "KEY")}
    files = {name: Path(file) if file else None for name, file in given.items()}
    missing = [name for name, file in files.items() if file and not file.is_file()]
    problems = [f"TIDEMILL_TLS_{name}_FILE does not point to a file" for name in missing]
    if (files["CERT"] is None) != (files["KEY"] is None):
        problems.append("TIDEMILL_TLS_CERT_FILE and TIDEMILL_TLS_KEY_FILE belong together: set both, or none")
    if problems:
        raise UnusableTransport("; ".join(problems))
    plaintext = os.environ.get("TIDEMILL_TLS_ALLOW_PLAINTEXT", "").lower() in {"1", "true", "yes", "on"}
    return Tls(ca_file=files["CA"], cert_file=files["CERT"], key_file=files["KEY"], allow_plaintext=plaintext)


def credential_of_environment() -> Credential | None:
    """Return the credential in TIDEMILL_CREDENTIAL, or in the file that TIDEMILL_CREDENTIAL_FILE names; None for none.

    Raises:
        UnusableTransport: both are set.

    """
    text, file = os.environ.get("TIDEMILL_CREDENTIAL", ""), os.environ.get("TIDEMILL_CREDENTIAL_FILE", "")
    if text and file:
        message = "TIDEMILL_CREDENTIAL and TIDEMILL_CREDENTIAL_FILE are both set: set one of them"
        raise UnusableTransport(message)
    if file:
        return FileCredential(Path(file))
    return (lambda: text) if text else None


def local_folder(folder: Path | None = None) -> Path | None:
    """Return the nearest `.tidemill/` from a directory upwards; those of other users are not trusted."""
    start = folder or Path.cwd()
    found = (each / ".tidemill" for each in (start, *start.parents))
    return next((each for each in found if each.is_dir() and each.stat().st_uid == os.geteuid()), None)


def current_project() -> str:
    """Return the project that was last remembered here, or ""."""
    folder = local_folder()
    file = folder / "project" if folder else None
    return file.read_text(encoding="utf-8").strip() if file and file.is_file() else ""


def remember_project(project: str) -> None:
    """Set the default project of commands."""
    folder = local_folder()
    if folder:
        (folder / "project").write_text(f"{project}\n", encoding="utf-8")


def _stack(local: Path | None) -> dict[str, Any]:
    file = local / "stack.json" if local else None
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else {}
    return found


def _own_file(stack: Mapping[str, Any], name: str, local: Path | None) -> str:
    """Return the path of a stack's secrets, "" for one that is not in its own folder."""
    file = str(stack.get(name, ""))
    inside = local is not None and Path(file).resolve().is_relative_to(local.resolve())
    return file if file and inside else ""


S = TypeVar("S")


class _Stub(Generic[S]):
    """A generated stub as an attribute of a connection, made on first use."""

    def __init__(self, service: str, noun: str) -> None:
        self._service, self._noun = service, noun

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, connection: "Connection", owner: type) -> S:
        module = importlib.import_module(f"tidemill.{self._service}.v1.{self._noun}_service_pb2_grpc")
        name = "".join(word.capitalize() for word in self._noun.split("_"))
        stub: S = getattr(module, f"{name}ServiceStub")(connection.channel(self._service))
        vars(connection)[self._name] = stub
        return stub


class Connection:
    """Typed stubs of every service for one project; channels are opened on first use.

    Calls carry the `credential` (an API key or a token, or what returns one), else the environment's, else that of the
    last `tidemill login`, else the local stack's.

    Raises:
        InvalidInput: the project has no name that a project can have.

    """

    def __init__(
        self, project: str, addresses: Addresses | None = None, *, credential: Credential | str | None = None
    ) -> None:
        if project and not PROJECT_SLUG.fullmatch(project):
            raise InvalidInput.at(field="project", text=f"is {project[:80]!r}; use {PROJECT_FORM}")
        self.project = project
        self._credential = (lambda: credential) if isinstance(credential, str) else credential
        self.addresses = addresses or Addresses.find()
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def __aenter__(self) -> Self:
        """Return the connection. Nothing is sent yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            await channel.close()

    def channel(self, service: str) -> "grpc.aio.Channel":
        """Return the channel to a service.

        Raises:
            NoAddress: its address is not configured.

        """
        if service not in self._channels:
            self._channels[service] = open_channel(
                self.addresses.of(service),
                name=service,
                project=self.project,
                timeout_s=CALL_LIMIT_S,
                tls=tls_of_environment(),
                credential=self.credential_for(service),
                waits=True,
            )
        return self._channels[service]

    def credential_for(self, service: str) -> Credential | None:
        """Return what calls of a service are made with.

        Raises:
            UnusableTransport: the environment names two.

        """
        file = self.addresses.credential_file
        monitor = self.addresses.services.get("monitor", "") if service in self.addresses.with_login else ""
        return (
            self._credential
            or credential_of_environment()
            or credential_of_login(monitor, self.project)
            or (FileCredential(Path(file)) if file else None)
        )

    sources: "_Stub[SourceServiceStub]" = _Stub("ingest", "source")
    """Sources of documents."""
    documents: "_Stub[DocumentServiceStub]" = _Stub("ingest", "document")
    """Documents and their versions."""
    datasets: "_Stub[DatasetServiceStub]" = _Stub("ingest", "dataset")
    """Datasets and their immutable versions."""
    profiles: "_Stub[ProfileServiceStub]" = _Stub("ingest", "profile")
    """Counts and distributions of sources."""
    collections: "_Stub[CollectionServiceStub]" = _Stub("rag", "collection")
    """Searchable collections."""
    retrieval: "_Stub[RetrievalServiceStub]" = _Stub("rag", "retrieval")
    """Search."""
    topics: "_Stub[TopicServiceStub]" = _Stub("rag", "topic")
    """What the documents of collections are about."""
    models: "_Stub[ModelRegistryServiceStub]" = _Stub("trainer", "model_registry")
    """Models and their versions."""
    derivations: "_Stub[DerivationServiceStub]" = _Stub("trainer", "derivation")
    """Versions of models that are made of other versions."""
    sweeps: "_Stub[SweepServiceStub]" = _Stub("trainer", "sweep")
    """Searches for better settings of training plans."""
    training: "_Stub[TrainingServiceStub]" = _Stub("trainer", "training")
    """Training plans and their runs."""
    prompts: "_Stub[PromptServiceStub]" = _Stub("inference", "prompt")
    """Prompts and their versions."""
    deployments: "_Stub[DeploymentServiceStub]" = _Stub("inference", "deployment")
    experiments: "_Stub[ExperimentServiceStub]" = _Stub("inference", "experiment")
    """Deployments and their rollouts."""
    inferences: "_Stub[InferenceServiceStub]" = _Stub("inference", "inference")
    """Generation, and recorded inferences."""
    conversations: "_Stub[ConversationServiceStub]" = _Stub("inference", "conversation")
    """Conversations, and what is remembered of end users."""
    files: "_Stub[FileServiceStub]" = _Stub("inference", "file")
    """The input and the results of batches."""
    batches: "_Stub[BatchServiceStub]" = _Stub("inference", "batch")
    """Many questions of a file, asked behind live traffic."""
    budgets: "_Stub[BudgetServiceStub]" = _Stub("inference", "budget")
    """Limits of requests, tokens and money."""
    prices: "_Stub[PriceServiceStub]" = _Stub("inference", "price")
    """Prices of models."""
    secrets: "_Stub[SecretServiceStub]" = _Stub("inference", "secret")
    """Keys of remote models."""
    feedback: "_Stub[FeedbackServiceStub]" = _Stub("feedback", "feedback")
    """Ratings, comments and corrections."""
    metrics: "_Stub[FeedbackMetricServiceStub]" = _Stub("feedback", "feedback_metric")
    """What may be said of answers, besides ratings, comments and corrections."""
    curations: "_Stub[CurationServiceStub]" = _Stub("feedback", "curation")
    """Curation rules: which feedback becomes training examples."""
    reviews: "_Stub[ReviewServiceStub]" = _Stub("feedback", "review")
    """Review queues and their items."""
    suites: "_Stub[SuiteServiceStub]" = _Stub("evaluator", "suite")
    """Suites of trusted cases."""
    suite_proposals: "_Stub[SuiteProposalServiceStub]" = _Stub("evaluator", "suite_proposal")
    """Cases that suites take once an operator accepts them."""
    judges: "_Stub[JudgeServiceStub]" = _Stub("evaluator", "judge")
    """Models that score answers by a rubric."""
    evaluations: "_Stub[EvaluationServiceStub]" = _Stub("evaluator", "evaluation")
    """Gates and evaluations."""
    prompt_tests: "_Stub[PromptTestServiceStub]" = _Stub("evaluator", "prompt_test")
    """Comparisons of prompts, models and sampling on the same cases."""
    retrieval_evaluations: "_Stub[RetrievalEvaluationServiceStub]" = _Stub("evaluator", "retrieval_evaluation")
    """Measurements and comparisons of searches."""
    harness_runs: "_Stub[HarnessRunServiceStub]" = _Stub("evaluator", "harness_run")
    """Runs of public evaluation harnesses."""
    access: "_Stub[AccessServiceStub]" = _Stub("monitor", "access")
    """Projects, members, service accounts, roles and API keys."""
    audit: "_Stub[AuditServiceStub]" = _Stub("monitor", "audit")
    """Audit records."""
    erasures: "_Stub[ErasureServiceStub]" = _Stub("monitor", "erasure")
    """Erasures of end users and documents, and their certificates."""
    holds: "_Stub[HoldServiceStub]" = _Stub("monitor", "hold")
    """Legal holds."""
    retention: "_Stub[RetentionServiceStub]" = _Stub("monitor", "retention")
    """How long data is kept."""
    lineage: "_Stub[LineageServiceStub]" = _Stub("monitor", "lineage")
    """Lineage and timelines."""
