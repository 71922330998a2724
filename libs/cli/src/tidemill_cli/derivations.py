"""derivations: versions of models that are made of other versions; `models derive` creates one."""

from enum import StrEnum
from typing import Annotated

import typer

from tidemill.trainer.v1.derivation_pb2 import (
    Derivation,
    DerivationState,
    DropLayers,
    Merge,
    PruneMagnitude,
    PruneWanda,
    Quantize,
)
from tidemill.trainer.v1.derivation_service_pb2 import ListDerivationsRequest
from tidemill_cli.options import Commands, labels_of
from tidemill_cli.output import EXIT_ERROR, call, card, moment, plain, progress, show, word
from tidemill_cli.pages import lists
from tidemill_client.connection import Connection
from tidemill_client.derivations import ENDED, Derivations
from tidemill_client.pages import filter_of

derivations = Commands(help="Versions of models that are made of other versions; `models derive` creates one.")

DerivationArgument = Annotated[str, typer.Argument(help="The derivation.")]


class Method(StrEnum):
    """How a version is made of another one."""

    MERGE = "merge"
    INT8 = "int8"
    MAGNITUDE = "prune-magnitude"
    WANDA = "prune-wanda"
    LAYERS = "drop-layers"


@lists(
    derivations,
    "list",
    lambda c: c.derivations.ListDerivations,
    ("derivation", "from", "method", "model", "state", "made"),
    lambda d: (
        d.id,
        d.source_version,
        _method(d),
        d.model,
        word(DerivationState, d.state),
        d.model_version or d.reason or "-",
    ),
)
def list_derivations(
    *, model: Annotated[str, typer.Option(help="Only derivations that make versions of this model.")] = ""
) -> ListDerivationsRequest:
    """List the project's derivations, oldest first."""
    return ListDerivationsRequest(filter=filter_of(model=model))


@derivations.command("show")
def show_derivation(name: DerivationArgument) -> None:
    """Show a derivation."""
    _show(call(lambda c: Derivations(c).get(name)))


@derivations.command("cancel")
def cancel(name: DerivationArgument) -> None:
    """Cancel a derivation before it has registered its version."""
    _show(call(lambda c: Derivations(c).cancel(name)))


@derivations.command("delete")
def delete(name: DerivationArgument) -> None:
    """Delete a derivation that has ended; the version that it made stays."""
    found = call(lambda c: Derivations(c).delete(name))
    show(plain(found), f"{name} is deleted")


def derive(
    source: Annotated[str, typer.Argument(help="The version: name@number, or name for its newest ready one.")],
    *,
    model: Annotated[str, typer.Option("--model", help="The model whose next version it makes: another one.")],
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="merge: an adapter into its base. int8: smaller weights. drop-layers: fewer layers. prune-magnitude, "
            "prune-wanda: weights of zero.",
        ),
    ],
    sparsity: Annotated[
        float, typer.Option("--sparsity", help="Of prune-magnitude and prune-wanda: the share of zeros, as 0.5.")
    ] = 0.0,
    layers: Annotated[int, typer.Option("--layers", help="Of drop-layers: how many are removed.")] = 0,
    calibration: Annotated[
        str,
        typer.Option(
            "--calibration",
            help="Of prune-wanda and drop-layers: the dataset version of the examples, name or name@number.",
        ),
    ] = "",
    label: Annotated[list[str] | None, typer.Option("--label", "-l", help="A label, name=value; repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check it, and start nothing.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", "-w", help="Wait until it ended; exit 1 unless it succeeded.")
    ] = False,
) -> None:
    """Make a version of a model of another version, without training: merged, with int8 weights, or pruned."""

    async def work(connection: Connection) -> Derivation:
        requested = Derivation(source_version=source, model=model, labels=labels_of(label or []))
        match method:
            case Method.MERGE:
                requested.merge.CopyFrom(Merge())
            case Method.INT8:
                requested.quantize.CopyFrom(Quantize(bits=8))
            case Method.MAGNITUDE:
                requested.prune_magnitude.CopyFrom(PruneMagnitude(sparsity=sparsity))
            case Method.WANDA:
                requested.prune_wanda.CopyFrom(PruneWanda(sparsity=sparsity, calibration=calibration))
            case Method.LAYERS:
                requested.drop_layers.CopyFrom(DropLayers(layers=layers, calibration=calibration))
        created = await Derivations(connection).create(requested, validate_only=dry_run)
        return await _followed(connection, created) if wait and not dry_run else created

    found = call(work)
    _show(found)
    if wait and not dry_run and found.state != DerivationState.DERIVATION_STATE_SUCCEEDED:
        raise typer.Exit(EXIT_ERROR)


async def _followed(connection: Connection, created: Derivation) -> Derivation:
    with progress() as bar:
        task = bar.add_task("waiting for a worker", total=None)
        return await Derivations(connection).wait(
            created.id, watch=lambda found: bar.update(task, description=word(DerivationState, found.state))
        )


def _method(found: Derivation) -> str:
    match found.WhichOneof("method"):
        case "quantize":
            return f"int{found.quantize.bits}"
        case "prune_magnitude":
            return f"{Method.MAGNITUDE} {found.prune_magnitude.sparsity:g}"
        case "prune_wanda":
            return f"{Method.WANDA} {found.prune_wanda.sparsity:g} on {found.prune_wanda.calibration}"
        case "drop_layers":
            return f"{Method.LAYERS} {found.drop_layers.layers} on {found.drop_layers.calibration}"
        case _:
            return Method.MERGE


def _show(found: Derivation) -> None:
    sizes = f"{found.weight_bytes / 1e6:.1f} of {found.source_bytes / 1e6:.1f} MB" if found.weight_bytes else ""
    facts = {
        "derivation": found.id,
        "state": word(DerivationState, found.state),
        "why": " ".join(part for part in (found.reason, found.message) if part),
        "from": found.source_version,
        "base": found.base,
        "method": _method(found),
        "model": found.model,
        "made": found.model_version,
        "weights": sizes,
        "ended": moment(found.finish_time) if found.state in ENDED else "",
    }
    show(plain(found), card({name: value for name, value in facts.items() if value != ""}))
