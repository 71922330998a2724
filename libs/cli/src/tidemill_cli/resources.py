"""models, prompts, deployments and inferences: list, show and import."""

from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.message import Message
from rich.console import RenderableType

from tidemill.inference.v1.deployment_service_pb2 import GetDeploymentRequest, ListDeploymentsRequest
from tidemill.inference.v1.inference_pb2 import InferenceState
from tidemill.inference.v1.inference_service_pb2 import GetInferenceRequest, ListInferencesRequest
from tidemill.inference.v1.prompt_service_pb2 import GetPromptRequest, ListPromptsRequest
from tidemill.trainer.v1.model_pb2 import HuggingFaceSource, ModelSource, ModelVersion, ModelVersionState
from tidemill.trainer.v1.model_registry_service_pb2 import (
    GetModelVersionRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
)
from tidemill_cli.output import (
    JsonOption,
    ProjectOption,
    card,
    chosen_project,
    plain,
    progress,
    run,
    show,
    table,
)
from tidemill_cli.pages import SizeOption, TokenOption, show_page
from tidemill_client.connection import Connection
from tidemill_client.model_import import folder_source, import_model

models = typer.Typer(help="Models and their versions.", no_args_is_help=True)
prompts = typer.Typer(help="Prompts and their versions.", no_args_is_help=True)
deployments = typer.Typer(help="Deployments and their live configuration.", no_args_is_help=True)
inferences = typer.Typer(help="Recorded answers.", no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="The name, for example helpdesk.")]


@models.command("list")
def list_models(
    size: SizeOption = 50, token: TokenOption = "", project: ProjectOption = "", *, as_json: JsonOption = False
) -> None:
    """List the project's models."""

    async def work() -> tuple[list[Message], str, RenderableType]:
        async with Connection(chosen_project(project)) as connection:
            page = await connection.models.ListModels(ListModelsRequest(page_size=size, page_token=token))
        rows = [(m.id, m.latest_version or "-", m.version_count, m.create_time.ToJsonString()) for m in page.models]
        picture = table(("model", "newest ready", "versions", "created"), rows)
        return list(page.models), page.next_page_token, picture

    show_page("models", *run(work(), as_json=as_json), as_json=as_json)


@models.command("versions")
def list_versions(
    name: NameArgument,
    size: SizeOption = 50,
    token: TokenOption = "",
    project: ProjectOption = "",
    *,
    as_json: JsonOption = False,
) -> None:
    """List the versions of a model."""

    async def work() -> tuple[list[Message], str, RenderableType]:
        request = ListModelVersionsRequest(model=name, page_size=size, page_token=token)
        async with Connection(chosen_project(project)) as connection:
            page = await connection.models.ListModelVersions(request)
        rows = [(v.id, _state(v), f"{v.total_bytes / 1e6:.1f} MB", _origin(v.source), v.message) for v in page.versions]
        picture = table(("version", "state", "size", "from", "message"), rows)
        return list(page.versions), page.next_page_token, picture

    show_page("versions", *run(work(), as_json=as_json), as_json=as_json)


@models.command("show")
def show_model(name: NameArgument, project: ProjectOption = "", *, as_json: JsonOption = False) -> None:
    """Show a model version: `model@number`, or `model` for the newest ready one."""

    async def work() -> ModelVersion:
        async with Connection(chosen_project(project)) as connection:
            return (await connection.models.GetModelVersion(GetModelVersionRequest(id=name))).version

    version = run(work(), as_json=as_json)
    files = ", ".join(artifact.path for artifact in version.artifacts)
    facts = {"version": version.id, "state": _state(version), "digest": version.digest, "files": files}
    if version.source.HasField("trained"):
        trained = version.source.trained
        facts |= {"trained by": f"run {trained.run}", "on": trained.dataset_version, "base": trained.base}
    else:
        facts["from"] = _origin(version.source)
    show(plain(version), card({**facts, "message": version.message}), as_json=as_json)


@models.command("import")
def import_(
    name: NameArgument,
    source: Annotated[str, typer.Argument(help="A folder, or hf:OWNER/NAME[@REVISION].")],
    project: ProjectOption = "",
    *,
    as_json: JsonOption = False,
) -> None:
    """Import a model into the registry. Importing the same content again has no effect."""

    async def work() -> tuple[ModelVersion, bool]:
        with progress() as bar:
            task = bar.add_task("hashing", total=None)
            if source.startswith("hf:"):
                repository, _, revision = source.removeprefix("hf:").partition("@")
                folder, requested = (
                    None,
                    ModelSource(hugging_face=HuggingFaceSource(repository=repository, revision=revision)),
                )
            else:
                folder = Path(source)
                requested = await folder_source(folder)
            async with Connection(chosen_project(project)) as connection:
                return await import_model(
                    connection,
                    name,
                    requested,
                    folder=folder,
                    progress=lambda done, total: bar.update(
                        task, description="storing MB", completed=done // 1_000_000, total=total // 1_000_000
                    ),
                )

    version, created = run(work(), as_json=as_json)
    sentence = f"{version.id} {'created and ready' if created else 'already exists'}"
    show({"version": plain(version), "created": created}, sentence, as_json=as_json)


def _origin(source: ModelSource) -> str:
    """Return the source of a version as a short text."""
    match source.WhichOneof("kind"):
        case "trained":
            return f"{source.trained.base} trained on {source.trained.dataset_version}, run {source.trained.run}"
        case "hugging_face":
            return f"hf:{source.hugging_face.repository}@{source.hugging_face.revision or 'main'}"
        case "openai":
            return f"openai:{source.openai.model} at {source.openai.base_url}"
        case "folder":
            return "a folder"
        case _:
            return "-"


def _state(version: ModelVersion) -> str:
    return ModelVersionState.Name(version.state).removeprefix("MODEL_VERSION_STATE_").lower()


@prompts.command("list")
def list_prompts(
    size: SizeOption = 50, token: TokenOption = "", project: ProjectOption = "", *, as_json: JsonOption = False
) -> None:
    """List the project's prompts."""

    async def work() -> tuple[list[Message], str, RenderableType]:
        async with Connection(chosen_project(project)) as connection:
            page = await connection.prompts.ListPrompts(ListPromptsRequest(page_size=size, page_token=token))
        rows = [
            (p.id, p.latest_version, ", ".join(f"{k}={v}" for k, v in p.version_labels.items())) for p in page.prompts
        ]
        return list(page.prompts), page.next_page_token, table(("prompt", "newest version", "labels"), rows)

    show_page("prompts", *run(work(), as_json=as_json), as_json=as_json)


@prompts.command("show")
def show_prompt(name: NameArgument, project: ProjectOption = "", *, as_json: JsonOption = False) -> None:
    """Show a prompt with all its versions."""

    async def work() -> Message:
        async with Connection(chosen_project(project)) as connection:
            return (await connection.prompts.GetPrompt(GetPromptRequest(id=name))).prompt

    prompt = plain(run(work(), as_json=as_json))
    newest = {"prompt": f"{prompt['id']}@{prompt['latest_version']}", **prompt["content"]}
    show(prompt, card(newest), as_json=as_json)


@deployments.command("list")
def list_deployments(
    size: SizeOption = 50, token: TokenOption = "", project: ProjectOption = "", *, as_json: JsonOption = False
) -> None:
    """List the project's deployments."""

    async def work() -> tuple[list[Message], str, RenderableType]:
        request = ListDeploymentsRequest(page_size=size, page_token=token)
        async with Connection(chosen_project(project)) as connection:
            page = await connection.deployments.ListDeployments(request)
        rows = [
            (d.id, d.live.model, d.follow or "-", d.live.prompt, d.live.retrieval.collection or "-")
            for d in page.deployments
        ]
        picture = table(("deployment", "model", "follows", "prompt", "collection"), rows)
        return list(page.deployments), page.next_page_token, picture

    show_page("deployments", *run(work(), as_json=as_json), as_json=as_json)


@deployments.command("show")
def show_deployment(name: NameArgument, project: ProjectOption = "", *, as_json: JsonOption = False) -> None:
    """Show a deployment and its live configuration."""

    async def work() -> Message:
        async with Connection(chosen_project(project)) as connection:
            return (await connection.deployments.GetDeployment(GetDeploymentRequest(id=name))).deployment

    deployment = plain(run(work(), as_json=as_json))
    follows = {"follows": deployment["follow"]} if deployment["follow"] else {}
    picture = card({"deployment": deployment["id"], **follows, **deployment.get("live", {})})
    show(deployment, picture, as_json=as_json)


@inferences.command("list")
def list_inferences(
    deployment: Annotated[str, typer.Option("--deployment", "-d", help="Only of this deployment.")] = "",
    size: SizeOption = 50,
    token: TokenOption = "",
    project: ProjectOption = "",
    *,
    as_json: JsonOption = False,
) -> None:
    """List inferences, oldest first."""

    async def work() -> tuple[list[Message], str, RenderableType]:
        request = ListInferencesRequest(page_size=size, page_token=token, deployment=deployment)
        async with Connection(chosen_project(project)) as connection:
            page = await connection.inferences.ListInferences(request)
        rows = [
            (
                i.id,
                i.deployment,
                InferenceState.Name(i.state).removeprefix("INFERENCE_STATE_").lower(),
                i.variant.model,
                i.variant.name if i.variant.rollout else "-",
                i.usage.output_tokens,
                i.create_time.ToJsonString(),
            )
            for i in page.inferences
        ]
        picture = table(("inference", "deployment", "state", "model", "variant", "tokens", "asked"), rows)
        return list(page.inferences), page.next_page_token, picture

    show_page("inferences", *run(work(), as_json=as_json), as_json=as_json)


@inferences.command("show")
def show_inference(name: NameArgument, project: ProjectOption = "", *, as_json: JsonOption = False) -> None:
    """Show an inference with its passages, citations and configuration."""

    async def work() -> Message:
        async with Connection(chosen_project(project)) as connection:
            return (await connection.inferences.GetInference(GetInferenceRequest(id=name))).inference

    inference = plain(run(work(), as_json=as_json))
    show(inference, card(inference), as_json=as_json)
