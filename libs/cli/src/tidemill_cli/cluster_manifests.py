"""Manifests of trainings on several machines, for kubectl."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.markup import escape

from tidemill.trainer.v1.training_service_pb2 import RenderTrainingManifestRequest
from tidemill_cli.options import options
from tidemill_cli.output import call, print_json, show, stdout, writing
from tidemill_client.training import Training

MEBIBYTE = 1024**2


def render_manifest(
    name: Annotated[str, typer.Argument(metavar="RUN_OR_PLAN", help="A run's id, or a plan.")],
    *,
    nodes: Annotated[int, typer.Option(help="Machines.")],
    secret: Annotated[str, typer.Option(help="The Secret with the object store's address and keys.")],
    volume_claim: Annotated[str, typer.Option(help="The ReadWriteMany volume for checkpoints and what is made.")],
    dataset_version: Annotated[str, typer.Option(help="Of a plan: dataset@number; default: the newest.")] = "",
    processes_per_node: Annotated[int, typer.Option(help="Processes on each machine.")] = 1,
    cpus_per_node: Annotated[int, typer.Option(help="Processors of each machine.")] = 4,
    memory_mb_per_node: Annotated[int, typer.Option(help="MiB of each machine; default: the run's limit.")] = 0,
    gpus: Annotated[bool, typer.Option("--gpus", help="One GPU for each process.")] = False,
    image: Annotated[str, typer.Option(help="The trainer's image; default: that of the service's settings.")] = "",
    namespace: Annotated[str, typer.Option(help="The namespace.")] = "default",
    to: Annotated[Path | None, typer.Option("--to", help="Write it to this file.")] = None,
) -> None:
    """Write Kubernetes objects that train a run's or a plan's recipe on several machines; nothing is started."""
    asked = RenderTrainingManifestRequest(
        dataset_version=dataset_version,
        nodes=nodes,
        processes_per_node=processes_per_node,
        cpus_per_node=cpus_per_node,
        memory_bytes_per_node=memory_mb_per_node * MEBIBYTE,
        gpus=gpus,
        image=image,
        namespace=namespace,
        secret=secret,
        volume_claim=volume_claim,
    )
    if _is_run(name):
        asked.run = name
    else:
        asked.plan = name
    objects = call(lambda c: Training(c).manifest(asked))
    text = _list(objects)
    if to is not None:
        with writing(to):
            to.write_text(text, encoding="utf-8")
        show({"objects": list(objects)}, escape(f"Wrote {to}. Next: kubectl apply -f {to}"))
    elif options().as_json:
        print_json({"objects": list(objects)})
    else:
        stdout.print(text, end="", markup=False, highlight=False, soft_wrap=True)


def _is_run(name: str) -> bool:
    """Whether it is the id of a run: these are UUIDs, and plans have names."""
    try:
        UUID(name)
    except ValueError:
        return False
    return True


def _list(objects: Sequence[Mapping[str, Any]]) -> str:
    """Return a List in JSON: as YAML, which kubectl reads by version 1.1, a name such as `no` would be a boolean."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}, indent=2) + "\n"
