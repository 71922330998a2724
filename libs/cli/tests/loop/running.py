# ruff: noqa: ANN401 - one keeper serves messages of any kind
"""A platform of fakes that loops are applied to."""

import hashlib
import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from grpc import StatusCode

from libs.cli.tests.commands.access_answers import AccessAnswers
from libs.cli.tests.loop.declared_services import Keeper, registrations
from libs.sdk.tests.fakes import fake_settings
from tidemill.trainer.v1 import model_registry_service_pb2 as registry
from tidemill.trainer.v1.model_pb2 import MODEL_VERSION_STATE_READY, Model, ModelApprovalPolicy, ModelVersion
from tidemill_cli.loop.kinds import KINDS
from tidemill_client import Addresses
from tidemill_client.connection import SERVICES
from tidemill_core.errors import NotFound
from tidemill_testkit.access import access_of
from tidemill_testkit.audit import RecordedCalls
from tidemill_testkit.direct_calls import DirectServer


class Server:
    """Every contract at one address, which one platform after another answers: a server for each would cost more."""

    def __init__(self) -> None:
        self.running: Running | None = None
        self._server = DirectServer(
            fake_settings(), registrations(self._method), access=access_of(), audit=RecordedCalls()
        )

    @property
    def port(self) -> int:
        """Where clients call it."""
        return self._server.port

    def reachable(self) -> AbstractContextManager[None]:
        """Let clients call it."""
        return self._server.reachable()

    def _method(self, name: str) -> Callable[..., Any]:
        return self.running.method(name) if self.running else _unimplemented


class Running:
    """Every service at one address. What services answer besides what is declared stands in `answers`.

    `answers` maps `<module>:<method>` to a function of the request, for example
    "trainer.v1.training_service:ListTrainingRuns".
    """

    def __init__(self) -> None:
        self.keepers = {name: Keeper(kind) for name, kind in KINDS.items()}
        self.keepers["deployment"].normalise = self._configure
        self.keepers["curation"].normalise = _with_limits
        self.keepers["suite"].normalise = _counted
        self.keepers["suite"].left_out = ("cases",)
        self.live = "small@1"
        self.models: dict[str, dict[str, str]] = {}
        """The labels of each model's version."""
        self.policies: dict[str, ModelApprovalPolicy] = {}
        self.access = AccessAnswers()
        self.answers: dict[str, Callable[[Any], Any]] = self.access.answers()
        self._server: Server | None = None
        self._own = ExitStack()
        self._methods: dict[str, Callable[..., Any]] = {
            f"{keeper.kind.contract.__name__.removeprefix('tidemill.').removesuffix('_pb2')}:{name}": method
            for keeper in self.keepers.values()
            for name, method in keeper.methods().items()
        }
        registry = "trainer.v1.model_registry_service"
        self._methods[f"{registry}:ImportModel"] = self._import_model
        self._methods[f"{registry}:GetModel"] = self._get_model
        self._methods[f"{registry}:UpdateModel"] = self._update_model

    def writes(self) -> dict[str, list[str]]:
        """Return what was written since the last time, by kind."""
        found = {name: keeper.written for name, keeper in self.keepers.items() if keeper.written}
        for keeper in self.keepers.values():
            keeper.written = []
        return found

    def start(self, server: Server | None = None) -> None:
        """Answer at a server, or at one of its own, which is reachable from now on."""
        self._server = server or Server()
        self._server.running = self
        if server is None:
            self._own.enter_context(self._server.reachable())

    def stop(self) -> None:
        """Answer no more."""
        assert self._server
        self._server.running = None
        self._own.close()

    def addresses(self, *without: str) -> Addresses:
        """Return where the services are, but some."""
        assert self._server
        return Addresses(services={name: f"127.0.0.1:{self._server.port}" for name in SERVICES if name not in without})

    def method(self, name: str) -> Callable[..., Any]:
        """Return what answers a method: what `answers` has by now, before what all platforms do."""
        return self._answering(name) if name in self.answers else self._methods.get(name, _unimplemented)

    def _answering(self, name: str) -> Callable[..., Any]:
        def answer(request: Any, _context: object) -> Any:
            answered = self.answers[name](request)
            return answered if inspect.isawaitable(answered) or isinstance(answered, AsyncIterator) else _now(answered)

        return answer

    def _configure(self, deployment: Any) -> None:
        """Do as inference does: what is live moves by rollouts where a model is followed."""
        deployment.live.model = self.live if deployment.follow else f"{deployment.model}@1"
        deployment.live.prompt = f"{deployment.prompt}@1"
        for step in deployment.rollout_policy.steps:
            if not step.HasField("at_most"):
                step.at_most.seconds = 86400

    async def _import_model(
        self, request: registry.ImportModelRequest, _context: object
    ) -> registry.ImportModelResponse:
        created = request.model not in self.models
        if not request.validate_only:
            self.models.setdefault(request.model, dict(request.labels))
        version = ModelVersion(id=f"{request.model}@1", state=MODEL_VERSION_STATE_READY)
        return registry.ImportModelResponse(version=version, created=created)

    async def _get_model(self, request: registry.GetModelRequest, _context: object) -> registry.GetModelResponse:
        if request.id not in self.models:
            not_there(request)
        return registry.GetModelResponse(model=Model(id=request.id, approval=self.policies.get(request.id)))

    async def _update_model(
        self, request: registry.UpdateModelRequest, _context: object
    ) -> registry.UpdateModelResponse:
        if not request.validate_only:
            self.policies[request.model.id] = request.model.approval
        return registry.UpdateModelResponse(model=request.model)


async def _unimplemented(_request: object, context: Any) -> None:
    await context.abort(StatusCode.UNIMPLEMENTED, "it has no answer")


async def _now(answered: Any) -> Any:
    return answered


def not_there(_request: object) -> None:
    """Answer that there is no such thing."""
    message = "there is no such thing"
    raise NotFound(message)


def _with_limits(curation: Any) -> None:
    curation.max_output_chars = curation.max_output_chars or 4000
    curation.progress.examples += 1  # grows between two reads


def _counted(suite: Any) -> None:
    suite.case_count = suite.shipped.max_cases or len(suite.cases)
    suite.judged_case_count = sum(bool(case.judgements) for case in suite.cases)
    suite.digest = hashlib.sha256(
        b"".join(part.SerializeToString(deterministic=True) for part in (suite.shipped, *suite.cases))
    ).hexdigest()
    suite.version = suite.version or 1
