"""What one project shares with another in these tests, and what that other one can do with it."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message

from tests.system.calls import Answer, Calls
from tests.system.harvest import Harvest
from tidemill.content.v1.content_pb2 import Message as ContentMessage
from tidemill.content.v1.content_pb2 import Part, Role
from tidemill.inference.v1.configuration_pb2 import Retrieval, Sampling
from tidemill.inference.v1.deployment_pb2 import Deployment
from tidemill.inference.v1.deployment_service_pb2 import CreateDeploymentRequest
from tidemill.inference.v1.inference_service_pb2 import GenerateRequest, ListInferencesRequest
from tidemill.inference.v1.prompt_service_pb2 import GetPromptRequest
from tidemill.ingest.v1.dataset_service_pb2 import GetDatasetVersionRequest
from tidemill.monitor.v1.access_pb2 import Grant, ResourceKind
from tidemill.monitor.v1.access_service_pb2 import CreateGrantRequest, CreateGrantResponse, RevokeGrantRequest
from tidemill.rag.v1.retrieval_service_pb2 import SearchRequest
from tidemill.trainer.v1.model_registry_service_pb2 import GetModelVersionRequest
from tidemill.trainer.v1.training_pb2 import TrainingPlan
from tidemill.trainer.v1.training_service_pb2 import CreateTrainingPlanRequest
from tidemill_client.connection import Connection
from tidemill_core.errors import NotFound, PreconditionFailed
from tidemill_testkit.contract import all_methods

ACCESS = "tidemill.monitor.v1.AccessService"
SHARED: Mapping[ResourceKind.ValueType, str] = {
    ResourceKind.RESOURCE_KIND_MODEL: "short_lora",
    ResourceKind.RESOURCE_KIND_PROMPT: "answer",
    ResourceKind.RESOURCE_KIND_DATASET: "short_sft",
    ResourceKind.RESOURCE_KIND_COLLECTION: "handbook",
}
"""What a project that has turned has."""
READING: Mapping[str, tuple[ResourceKind.ValueType, type[Message]]] = {
    "tidemill.trainer.v1.ModelRegistryService/GetModelVersion": (
        ResourceKind.RESOURCE_KIND_MODEL,
        GetModelVersionRequest,
    ),
    "tidemill.inference.v1.PromptService/GetPrompt": (ResourceKind.RESOURCE_KIND_PROMPT, GetPromptRequest),
    "tidemill.ingest.v1.DatasetService/GetDatasetVersion": (
        ResourceKind.RESOURCE_KIND_DATASET,
        GetDatasetVersionRequest,
    ),
    "tidemill.rag.v1.RetrievalService/Search": (ResourceKind.RESOURCE_KIND_COLLECTION, SearchRequest),
}
"""What reads a shared resource of each kind."""
USING = {
    f"tidemill.{name}"
    for name in (
        "inference.v1.DeploymentService/CreateDeployment",
        "inference.v1.DeploymentService/UpdateDeployment",
        "trainer.v1.DerivationService/CreateDerivation",
        "trainer.v1.TrainingService/CreateTrainingPlan",
        "trainer.v1.TrainingService/UpdateTrainingPlan",
        "trainer.v1.TrainingService/StartTrainingRun",
        "evaluator.v1.EvaluationService/StartEvaluation",
        "inference.v1.InferenceService/Generate",
        "inference.v1.InferenceService/GenerateStream",
    )
}
"""What answers otherwise to a name that is shared than to one that is not; of all other RPCs none does."""
DEPLOYMENT = "borrowed"
PEOPLE = ("end_user", "subject", "creator", "authors", "requester", "rater", "approver", "decided_by")
CAUSES = ("run", "curation", "inference", "feedback", "evaluation", "rollout", "credential", "trace_id")


def names_of(project: str) -> Iterator[str]:
    """Yield the names that another project has for what is shared."""
    for kind, name in SHARED.items():
        yield f"{project}/{name}"
        if kind not in {ResourceKind.RESOURCE_KIND_COLLECTION, ResourceKind.RESOURCE_KIND_PROMPT}:
            yield f"{project}/{name}@1"


def share(owner: Calls, grantee: str) -> list[str]:
    """Share everything, and return the ids of the grants."""
    ids = []
    for kind, name in SHARED.items():
        given = Grant(kind=kind, resource=name, grantee=grantee)
        request = CreateGrantRequest(grant=given, request_id=str(uuid4()))
        answer = owner(f"{ACCESS}/CreateGrant", request.SerializeToString())
        assert answer.code == "OK", answer
        ids.append(CreateGrantResponse.FromString(answer.body).grant.id)
    return ids


def revoke(owner: Calls, grants: list[str]) -> None:
    """Take everything back."""
    for grant in grants:
        answer = owner(f"{ACCESS}/RevokeGrant", RevokeGrantRequest(id=grant).SerializeToString())
        assert answer.code == "OK", answer


def read(reader: Calls, project: str) -> dict[str, Answer]:
    """Read each shared resource as another project does, by the RPC that is for it."""
    answers = {}
    for method, (kind, request_type) in READING.items():
        request: Any = request_type()
        name = f"{project}/{SHARED[kind]}"
        if kind == ResourceKind.RESOURCE_KIND_COLLECTION:
            request.collection, request.query = name, "What is it?"
        else:
            request.id = name
        answers[method] = reader(method, request.SerializeToString())
    return answers


async def uses(connection: Connection, project: str) -> None:
    """Answer a question with another project's model, prompt and collection."""
    deployment = Deployment(
        id=DEPLOYMENT,
        model=f"{project}/short_lora",
        prompt=f"{project}/answer",
        retrieval=Retrieval(collection=f"{project}/handbook", top_k=1),
        sampling=Sampling(max_output_tokens=4),
    )
    await connection.deployments.CreateDeployment(CreateDeploymentRequest(deployment=deployment))
    inference = (await connection.inferences.Generate(question(), timeout=60)).inference
    assert inference.output
    assert inference.passages, list(inference.warnings)
    assert inference.passages[0].collection == f"{project}/handbook"
    assert inference.passages[0].text
    plan = TrainingPlan(id="lora", dataset=f"{project}/short_sft", base=f"{project}/smollm2", method="sft")
    with suppress(NotFound):  # its base is not shared
        await connection.training.CreateTrainingPlan(CreateTrainingPlanRequest(plan=plan))
        message = "a plan was made on a base that is not shared"
        raise AssertionError(message)


async def left_after(connection: Connection) -> list[str]:
    """Return what is wrong once nothing is shared: a question that is answered, a record that names a document."""
    found = []
    with suppress(NotFound, PreconditionFailed):
        answered = (await connection.inferences.Generate(question(), timeout=60)).inference
        found.append(f"a question was answered by {answered.variant.model}")
    records = (await connection.inferences.ListInferences(ListInferencesRequest())).inferences
    passages = [each for record in records for each in record.passages]
    named = [each.document for each in passages if each.title or each.key or each.source or each.uri or each.text]
    return [*found, *(f"a record names {each}" for each in named), *([] if passages else ["there is no record"])]


def question() -> GenerateRequest:
    """Return a new question to the deployment."""
    message = ContentMessage(role=Role.ROLE_USER, parts=[Part(text="What is the height of a wallaroo?")])
    return GenerateRequest(request_id=str(uuid4()), deployment=DEPLOYMENT, messages=[message])


def not_shared(harvest: Harvest) -> list[str]:
    """Return who is in the project, and what its resources came from: no grant shows that."""
    found = {text for name in (*PEOPLE, *CAUSES) for text in harvest.texts[name]}
    return sorted(text for text in found if len(text) > len("user:a") and not text.startswith(tuple(SHARED.values())))


assert set(READING) | USING <= {f"{each.containing_service.full_name}/{each.name}" for each in all_methods()}
