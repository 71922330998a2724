"""datasets: list, show, approve, diff, profile and export versions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from tidemill.ingest.v1.dataset_pb2 import Dataset, DatasetVersion, LabelRule
from tidemill.ingest.v1.dataset_service_pb2 import ListDatasetsRequest, ListDatasetVersionsRequest
from tidemill_cli.options import Commands
from tidemill_cli.output import (
    EXIT_DIFFERENT,
    call,
    card,
    moment,
    plain,
    show,
    table,
    written,
)
from tidemill_cli.pages import lists
from tidemill_cli.profiles import PageOption, Section, SignificanceOption, show_profile
from tidemill_client.connection import Connection
from tidemill_client.datasets import Datasets, Part
from tidemill_client.profiles import Profiles

datasets = Commands(help="Versioned training data.")

DatasetArgument = Annotated[str, typer.Argument(help="The dataset, for example helpdesk_sft.")]
VersionArgument = Annotated[str, typer.Argument(help="dataset@number, or dataset for the newest version.")]


@lists(
    datasets,
    "list",
    lambda c: c.datasets.ListDatasets,
    ("dataset", "newest version", "versions", "held out"),
    lambda d: (d.id, d.latest_version or "-", d.version_count, f"{d.held_out_share:.0%}"),
)
def list_datasets() -> ListDatasetsRequest:
    """List the project's datasets."""
    return ListDatasetsRequest()


@datasets.command("show")
def show_dataset(name: VersionArgument) -> None:
    """Show a dataset and its newest version, or one version."""

    async def work(connection: Connection) -> tuple[Dataset | None, DatasetVersion | None]:
        requested = Datasets(connection)
        if "@" in name:
            return None, await requested.version(name)
        dataset = await requested.get(name)
        return dataset, await requested.version(name) if dataset.latest_version else None

    dataset, version = call(work)
    data = {"dataset": plain(dataset) if dataset else None, "version": plain(version) if version else None}
    if version is None:
        show(data, f"{name} has no version yet{_why(dataset)}")
        return
    _show_version(data, version)


def _show_version(data: object, version: DatasetVersion) -> None:
    rows = [(given.approver, moment(given.approve_time), given.rationale) for given in version.approvals]
    approvals: list[RenderableType] = ["", table(("approved by", "when", "why"), rows)] if rows else []
    counts = [(f"{each.queue}.{each.field}", each.value or "none", each.examples) for each in version.label_use.counts]
    labels: list[RenderableType] = ["", table(("label", "value", "offered examples"), counts)] if counts else []
    show(data, Group(card(_facts(version)), *labels, *approvals))


@datasets.command("approve")
def approve(
    name: Annotated[str, typer.Argument(help="The version, dataset@number.")],
    *,
    rationale: Annotated[str, typer.Option("--rationale", "-m", help="Reason, recorded with the decision.")] = "",
) -> None:
    """Approve a version. With the last approval that its policy requires, trainings start on it."""
    version = call(lambda c: Datasets(c).approve(name, rationale=rationale))
    _show_version(plain(version), version)


def _why(dataset: Dataset | None) -> str:
    if dataset is not None and dataset.HasField("last_withheld"):
        return f": {dataset.last_withheld.reason}, {dataset.last_withheld.message}"
    return ": `tidemill loop status` says what it waits for"


def _facts(version: DatasetVersion) -> dict[str, object]:
    statistics = version.statistics
    return {
        "version": f"{version.dataset}@{version.number}",
        "published": moment(version.create_time),
        "digest": version.digest,
        "to train": f"{version.train.examples} examples",
        "held out": f"{version.held_out.examples} examples",
        "offered": statistics.offered,
        "left out": f"{statistics.duplicates} duplicates, {statistics.overlap} overlapping with the held-out split, "
        f"{statistics.erased} erased, {statistics.unmasked} not maskable, {statistics.empty} empty, "
        f"{statistics.excluded} by label rules",
        "in both parts": statistics.train_held_out_shared,
        "questions": statistics.groups,
        "people": statistics.end_users,
        "answer length": f"{statistics.mean_output_chars:.0f} characters (mean)",
        "made from": f"curation {version.curation}, event seq {version.curation_seq}",
        **({"label rules": "; ".join(map(_rule, version.label_use.rules))} if version.HasField("label_use") else {}),
        **_approval(version),
    }


def _rule(rule: LabelRule) -> str:
    low, high = (f"{getattr(rule, each):g}" if rule.HasField(each) else "any" for each in ("min", "max"))
    return f"{rule.queue}.{rule.field} {'not ' if rule.exclude else ''}{' or '.join(rule.values) or f'{low} to {high}'}"


def _approval(version: DatasetVersion) -> dict[str, object]:
    policy, missing = version.approval, version.missing_approvals
    if not policy.count:
        return {}
    waits = f", no training starts before {missing} more" if missing else ""
    return {"approvals": f"{policy.count - missing} of {policy.count} of role {policy.role}{waits}"}


@lists(
    datasets,
    "versions",
    lambda c: c.datasets.ListDatasetVersions,
    ("version", "to train", "held out", "duplicates", "overlap", "erased", "approvals missing", "published"),
    lambda v: (
        f"{v.dataset}@{v.number}",
        v.train.examples,
        v.held_out.examples,
        v.statistics.duplicates,
        v.statistics.overlap,
        v.statistics.erased,
        v.missing_approvals or "-",
        moment(v.create_time),
    ),
)
def list_versions(name: DatasetArgument) -> ListDatasetVersionsRequest:
    """List the versions of a dataset, oldest first."""
    return ListDatasetVersionsRequest(dataset=name)


@datasets.command("diff")
def diff(
    base: Annotated[str, typer.Argument(help="Base version, dataset@number.")],
    target: Annotated[str, typer.Argument(help="Target version, dataset@number.")],
) -> None:
    """Compare the examples of two versions. Exit 0 if they are equal, 2 if not."""
    difference = call(lambda c: Datasets(c).diff(base, target))
    several = (
        ("+ added", difference.added),
        ("- removed", difference.removed),
        ("~ another answer", difference.changed),
        ("> another part", difference.moved),
    )
    rows = [(sign, example) for sign, examples in several for example in examples]
    summary = ", ".join(f"{len(examples)} {sign[2:]}" for sign, examples in several)
    show(plain(difference), Group(*([table(("", "example"), rows)] if rows else []), summary))
    if rows:
        raise typer.Exit(EXIT_DIFFERENT)


@datasets.command("profile")
def profile(
    name: VersionArgument,
    *,
    compare: Annotated[str, typer.Option("--compare", help="Version to compare with, dataset@number.")] = "",
    collection: Annotated[
        str, typer.Option("--collection", help="Also show which questions have no document of this collection near.")
    ] = "",
    near: Annotated[
        float,
        typer.Option("--near", min=0, help="From which score on a passage is near; default: answerable_above."),
    ] = 0.0,
    questions: Annotated[
        int, typer.Option("--questions", min=1, max=5000, help="So many questions of a version are searched with.")
    ] = 300,
    significance: SignificanceOption = 0.05,
    html: PageOption = None,
) -> None:
    """Show what a version consists of: lengths, languages, cohorts, end users, personal data, passages found."""
    reply = call(lambda c: Profiles(c).of_dataset(name, baseline=compare, significance=significance))
    names = (reply.version, reply.baseline_version)
    versions = [each for each in names if each]
    sections = [_nearness(collection, versions, near=near, max_questions=questions)] if collection else []
    show_profile(reply, names, title=f"Dataset {reply.version}", page=html, sections=sections)


def _nearness(collection: str, versions: Sequence[str], *, near: float, max_questions: int) -> Section:
    from tidemill_cli.near_documents import near_documents  # noqa: PLC0415 - optuna takes seconds to load

    found = call(lambda c: near_documents(c, versions, collection, near=near, max_questions=max_questions))
    return Section(data={"near_documents": found.data}, tables=found.tables, html=found.html)


@datasets.command("export")
def export(
    name: VersionArgument,
    *,
    part: Annotated[Part, typer.Option(help="The split: for training, or held out.")] = "train",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Output file; default: standard output.")
    ] = None,
) -> None:
    """Write the examples of a version as JSON lines."""
    size = call(lambda c: written(Datasets(c).export(name, part=part), output))
    if output is not None:
        show({"file": str(output), "bytes": size}, f"{size} bytes written to {output}")
