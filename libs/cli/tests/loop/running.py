# ruff: noqa: ANN401 - one keeper serves messages of any kind
"""A platform of fakes that loops are applied to."""

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

from libs.cli.tests.commands.access_answers import AccessAnswers
from libs.cli.tests.loop.declared_services import Keeper, servicers
from libs.sdk.tests.fakes import fake_settings
from tidemill.trainer.v1 import model_registry_service_pb2 as registry
from tidemill.trainer.v1.model_pb2 import MODEL_VERSION_STATE_READY, Model, ModelApprovalPolicy, ModelVersion
from tidemill_cli.loop.kinds import KINDS
from tidemill_client import Addresses
from tidemill_client.connection import SERVICES
from tidemill_core.errors import NotFound
from tidemill_kit.grpc.server import GrpcServer
from tidemill_testkit.access import access_of
from tidemill_testkit.audit import RecordedCalls

STREAMS = {
    "ingest.v1.dataset_service:ExportDatasetVersion",
    "monitor.v1.audit_service:ExportAuditRecords",
    "monitor.v1.audit_service:ExportInstallationAuditRecords",
    "inference.v1.file_service:DownloadFile",
    "inference.v1.inference_service:GenerateStream",
    "trainer.v1.model_registry_service:DownloadModelFile",
}


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
        self._server: GrpcServer | None = None

    def writes(self) -> dict[str, list[str]]:
        """Return what was written since the last time, by kind."""
        found = {name: keeper.written for name, keeper in self.keepers.items() if keeper.written}
        for keeper in self.keepers.values():
            keeper.written = []
        return found

    async def start(self) -> None:
        """Listen; what `answers` holds by now is served."""
        further: dict[str, dict[str, Callable[..., Any]]] = {
            "trainer.v1.model_registry_service": {
                "ImportModel": self._import_model,
                "GetModel": self._get_model,
                "UpdateModel": self._update_model,
            }
        }
        for name in self.answers:
            module, _, method = name.partition(":")
            further.setdefault(module, {})[method] = self._answering(name)
        self._server = GrpcServer(
            fake_settings(), servicers(self.keepers, further), access=access_of(), audit=RecordedCalls()
        )
        await self._server.start()

    async def stop(self) -> None:
        """Stop listening."""
        if self._server:
            await self._server.stop(0.1)

    def addresses(self, *without: str) -> Addresses:
        """Return where the services are, but some."""
        assert self._server
        return Addresses(services={name: f"127.0.0.1:{self._server.port}" for name in SERVICES if name not in without})

    def _answering(self, name: str) -> Callable[..., Any]:
        async def answer(request: Any, _context: object) -> Any:
            answered = self.answers[name](request)
            return await answered if inspect.isawaitable(answered) else answered

        async def stream(request: Any, _context: object) -> Any:
            async for piece in self.answers[name](request):
                yield piece

        return stream if name in STREAMS else answer

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
