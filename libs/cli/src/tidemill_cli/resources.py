"""models, prompts, deployments and inferences: list, show and import."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from tidemill.inference.v1.caching_pb2 import CacheSavings
from tidemill.inference.v1.configuration_pb2 import Retrieval
from tidemill.inference.v1.deployment_pb2 import PromptGoLive
from tidemill.inference.v1.deployment_service_pb2 import (
    GetCacheSavingsRequest,
    GetDeploymentRequest,
    ListDeploymentsRequest,
)
from tidemill.inference.v1.inference_pb2 import InferenceState
from tidemill.inference.v1.inference_service_pb2 import (
    EraseInferenceRequest,
    GetInferenceRequest,
    ListInferencesRequest,
)
from tidemill.inference.v1.prompt_service_pb2 import GetPromptRequest, ListPromptsRequest
from tidemill.trainer.v1.model_pb2 import HuggingFaceSource, ModelSource, ModelVersion, ModelVersionState
from tidemill.trainer.v1.model_registry_service_pb2 import (
    ApproveModelVersionRequest,
    GetModelVersionRequest,
    ListModelsRequest,
    ListModelVersionsRequest,
)
from tidemill_cli.derivations import derive
from tidemill_cli.exporting import export
from tidemill_cli.memorising import memorised_in_words
from tidemill_cli.options import Commands
from tidemill_cli.output import call, card, chosen_project, plain, progress, run, show, table, word, writing
from tidemill_cli.pages import lists
from tidemill_cli.prompt_branches import branch, merge
from tidemill_cli.prompt_history import label_version, origins, show_diff, show_log
from tidemill_cli.prompt_optimising import optimise
from tidemill_cli.prompt_testing import cancel_test, compare_prompts, list_tests, show_results, try_prompts
from tidemill_client.connection import Connection
from tidemill_client.declared import Prompts
from tidemill_client.model_cards import ModelCards, origin_of
from tidemill_client.model_import import folder_source, import_model

models = Commands(help="Models and their versions.")
prompts = Commands(help="Prompts and their versions.")
deployments = Commands(help="Deployments and their live configuration.")
inferences = Commands(help="Recorded answers.")

models.command("derive")(derive)
models.command("export")(export)
prompts.command("label")(label_version)
prompts.command("log")(show_log)
prompts.command("diff")(show_diff)
prompts.command("branch")(branch)
prompts.command("merge")(merge)
prompts.command("test")(compare_prompts)
prompts.command("optimise")(optimise)
prompts.command("try")(try_prompts)
prompts.command("tests")(list_tests)
prompts.command("results")(show_results)
prompts.command("cancel")(cancel_test)

NameArgument = Annotated[str, typer.Argument(help="The name, for example helpdesk.")]


@lists(
    models,
    "list",
    lambda c: c.models.ListModels,
    ("model", "newest ready", "versions", "created"),
    lambda m: (m.id, m.latest_version or "-", m.version_count, m.create_time.ToJsonString()),
)
def list_models() -> ListModelsRequest:
    """List the project's models."""
    return ListModelsRequest()


@lists(
    models,
    "versions",
    lambda c: c.models.ListModelVersions,
    ("version", "state", "size", "from", "approvals missing", "message"),
    lambda v: (
        v.id,
        word(ModelVersionState, v.state),
        f"{v.total_bytes / 1e6:.1f} MB",
        origin_of(v.source),
        v.missing_approvals or "-",
        v.message,
    ),
)
def list_versions(name: NameArgument) -> ListModelVersionsRequest:
    """List the versions of a model."""
    return ListModelVersionsRequest(model=name)


@models.command("show")
def show_model(name: NameArgument) -> None:
    """Show a model version: `model@number`, or `model` for the newest ready one."""
    version = call(lambda c: c.models.GetModelVersion(GetModelVersionRequest(id=name))).version
    files = ", ".join(artifact.path for artifact in version.artifacts)
    facts = {
        "version": version.id,
        "state": word(ModelVersionState, version.state),
        "digest": version.digest,
        "files": files,
    }
    if version.source.HasField("trained"):
        trained = version.source.trained
        facts |= {"trained by": f"run {trained.run}", "on": trained.dataset_version}
        facts |= {"base": trained.base} if trained.base else {"full weights, fine-tuned from": trained.finetuned_from}
        if version.HasField("reward_model"):
            facts["kind"] = f"reward model of tokenizer {version.reward_model.tokenizer_sha256[:12]}"
        facts |= memorised_in_words(version.memorisation)
    else:
        facts["from"] = origin_of(version.source)
    show(plain(version), card({**facts, **_approved(version), "message": version.message}))


@models.command("approve")
def approve_model(
    version: Annotated[str, typer.Argument(help="The version: name@number, for example helpdesk_lora@2.")],
    *,
    rationale: Annotated[str, typer.Option("--rationale", "-m", help="Reason, recorded with the approval.")] = "",
) -> None:
    """Approve a version of a model that other people made."""
    _numbered(version)
    request = ApproveModelVersionRequest(id=version, rationale=rationale)
    approved = call(lambda c: c.models.ApproveModelVersion(request)).version
    show(plain(approved), card({"version": approved.id, **_approved(approved)}))


def _approved(version: ModelVersion) -> dict[str, str]:
    """Return who approved a version, and what it lacks, where there is either."""
    missing = f"{version.missing_approvals} of the role {version.approver_role}" if version.missing_approvals else ""
    said = {"approved by": ", ".join(given.approver for given in version.approvals), "approvals missing": missing}
    return {name: value for name, value in said.items() if value}


@models.command("import")
def import_(
    name: NameArgument, source: Annotated[str, typer.Argument(help="A folder, or hf:OWNER/NAME[@REVISION].")]
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
            async with Connection(chosen_project()) as connection:
                return await import_model(
                    connection,
                    name,
                    requested,
                    folder=folder,
                    progress=lambda done, total: bar.update(
                        task, description="storing MB", completed=done // 1_000_000, total=total // 1_000_000
                    ),
                )

    version, created = run(work())
    sentence = f"{version.id} {'created and ready' if created else 'already exists'}"
    show({"version": plain(version), "created": created}, sentence)


@models.command("card")
def show_card(
    name: NameArgument,
    *,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the Markdown to this file.")] = None,
) -> None:
    """Show a version's card (Markdown): data, base, metrics, limits, licence; who made, approved and promoted it."""
    found = call(lambda c: ModelCards(c).get(name))
    if out is not None:
        with writing(out):
            out.write_text(found.markdown(), encoding="utf-8")
    show(found.as_json(), escape(found.markdown()))


@lists(
    prompts,
    "list",
    lambda c: c.prompts.ListPrompts,
    ("prompt", "newest version", "labels"),
    lambda p: (p.id, p.latest_version, ", ".join(f"{k}={v}" for k, v in p.version_labels.items())),
)
def list_prompts() -> ListPromptsRequest:
    """List the project's prompts."""
    return ListPromptsRequest()


@prompts.command("show")
def show_prompt(name: NameArgument) -> None:
    """Show a prompt with all its versions, and where they come from."""
    found = call(lambda c: c.prompts.GetPrompt(GetPromptRequest(id=name))).prompt
    prompt = plain(found)
    newest = {"prompt": f"{prompt['id']}@{prompt['latest_version']}", **prompt["content"]}
    show(prompt, Group(card(newest), "", _approvals(prompt["id"], prompt["versions"]), *origins(found)))


@prompts.command("approve")
def approve_prompt(
    version: Annotated[str, typer.Argument(help="The version: name@number, for example answer@2.")],
    *,
    rationale: Annotated[str, typer.Option("--rationale", "-m", help="Reason, recorded with the approval.")] = "",
) -> None:
    """Approve a version of a prompt that another person made."""
    name, number = _numbered(version)
    prompt = plain(call(lambda c: Prompts(c).approve(name, version=number, rationale=rationale)))
    show(prompt, _approvals(name, prompt["versions"][number - 1 : number]))


def _numbered(version: str) -> tuple[str, int]:
    name, _, number = version.partition("@")
    if not number.isascii() or not number.isdecimal():
        message = f"{version!r} is not name@number: approvals are of one version"
        raise typer.BadParameter(message)
    return name, int(number)


def _approvals(name: str, versions: Sequence[Mapping[str, Any]]) -> Table:
    """Return who made and who approved these versions, and how many approvals they lack."""
    rows = [
        (
            f"{name}@{each['number']}",
            each["creator"] or "-",
            ", ".join(given["approver"] for given in each["approvals"]) or "-",
            each["missing_approvals"] or "-",
        )
        for each in versions
    ]
    return table(("version", "made by", "approved by", "approvals missing"), rows)


def _searched(retrieval: Retrieval) -> str:
    return ", ".join((retrieval.collection, *retrieval.other_collections))


@lists(
    deployments,
    "list",
    lambda c: c.deployments.ListDeployments,
    ("deployment", "model", "follows", "prompt", "collection"),
    lambda d: (d.id, d.live.model, d.follow or "-", d.live.prompt, _searched(d.live.retrieval) or "-"),
)
def list_deployments() -> ListDeploymentsRequest:
    """List the project's deployments."""
    return ListDeploymentsRequest()


@deployments.command("savings")
def show_savings(
    name: NameArgument,
    *,
    days: Annotated[int, typer.Option("--days", min=1, max=400, help="So many days up to today, in UTC.")] = 30,
) -> None:
    """Show what the cache of a deployment saved, day by day."""
    reply = call(lambda c: c.deployments.GetCacheSavings(GetCacheSavingsRequest(id=name, days=days)))
    rows = [_savings_row(each.day, each) for each in reply.days]
    heads = ("day", "given again", "to similar", "made", "share", "tokens in", "tokens out", "seconds", "money")
    show(plain(reply), table(heads, [*rows, _savings_row("sum", reply.total)]))


def _savings_row(day: str, saved: CacheSavings) -> tuple[object, ...]:
    again = saved.exact_hits + saved.semantic_hits
    answers = again + saved.made
    return (
        day,
        again,
        saved.semantic_hits,
        saved.made,
        f"{again / answers:.0%}" if answers else "-",
        saved.saved_input_tokens,
        saved.saved_output_tokens,
        f"{saved.saved_time.ToTimedelta().total_seconds():.1f}",
        f"{saved.saved_cost} {saved.currency}" if saved.saved_cost else "-",
    )


@deployments.command("show")
def show_deployment(name: NameArgument) -> None:
    """Show a deployment and its live configuration."""
    deployment = plain(call(lambda c: c.deployments.GetDeployment(GetDeploymentRequest(id=name))).deployment)
    follows = {"follows": deployment["follow"]} if deployment["follow"] else {}
    if deployment["prompt_go_live"] == PromptGoLive.Name(PromptGoLive.PROMPT_GO_LIVE_BY_ROLLOUT):
        follows["prompt goes live"] = "by rollout"
    picture = card({"deployment": deployment["id"], **follows, **deployment.get("live", {})})
    show(deployment, picture)


@lists(
    inferences,
    "list",
    lambda c: c.inferences.ListInferences,
    ("inference", "deployment", "state", "model", "variant", "tokens", "asked"),
    lambda i: (
        i.id,
        i.deployment,
        word(InferenceState, i.state),
        i.variant.model,
        i.variant.name if i.variant.rollout else "-",
        i.usage.output_tokens,
        i.create_time.ToJsonString(),
    ),
)
def list_inferences(
    deployment: Annotated[str, typer.Option("--deployment", "-d", help="Only of this deployment.")] = "",
) -> ListInferencesRequest:
    """List inferences, oldest first."""
    return ListInferencesRequest(deployment=deployment)


@inferences.command("show")
def show_inference(name: NameArgument) -> None:
    """Show an inference with its passages, citations and configuration."""
    inference = plain(call(lambda c: c.inferences.GetInference(GetInferenceRequest(id=name))).inference)
    show(inference, card(inference))


@inferences.command("erase")
def erase_inference(name: NameArgument) -> None:
    """Erase question and answer of an inference; its counts stay."""
    call(lambda c: c.inferences.EraseInference(EraseInferenceRequest(id=name)))
    show({"id": name}, f"{name} is erased")
