"""models export: a version's files in a form that other programs load."""

import asyncio
import importlib
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from tidemill.trainer.v1.model_pb2 import ModelVersion
from tidemill_cli.output import chosen_project, progress, run, show, writing
from tidemill_client.connection import Connection
from tidemill_client.model_export import ModelExport
from tidemill_client.models import Models
from tidemill_core.errors import InvalidInput

MEGABYTE = 1_000_000


class Form(StrEnum):
    """What is written."""

    HUGGINGFACE = "huggingface"
    SAFETENSORS = "safetensors"
    GGUF = "gguf"


class NumberType(StrEnum):
    """How GGUF stores matrices."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    Q4_0 = "q4_0"


def export(
    name: Annotated[str, typer.Argument(help="The version: name@number, or name for its newest ready one.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="A folder, or the file of a GGUF.")],
    form: Annotated[
        Form,
        typer.Option(
            "--format",
            help="huggingface: a folder with its card. safetensors: full weights and tokenizer. gguf: one file.",
        ),
    ] = Form.HUGGINGFACE,
    kind: Annotated[NumberType, typer.Option("--type", help="How a GGUF stores matrices.")] = NumberType.BF16,
) -> None:
    """Write a version to this machine's disk. A command that broke off goes on with the files that are missing."""

    async def work() -> ModelVersion:
        async with Connection(chosen_project()) as connection:
            version, exporting = await Models(connection).version(name), ModelExport(connection)
            await exporting.check(version, adapters=form is Form.HUGGINGFACE)
            with writing(out):
                if form is Form.GGUF:
                    await _gguf(exporting, version, out, kind)
                else:
                    await _folder(exporting, version, out)
                    if form is Form.HUGGINGFACE:
                        await exporting.write_card(version, out)
        return version

    version = run(work())
    show({"version": version.id, "format": form.value, "out": str(out)}, f"{version.id} is written to {out}")


async def _folder(exporting: ModelExport, version: ModelVersion, folder: Path) -> None:
    with progress() as bar:
        task = bar.add_task("receiving MB", total=version.total_bytes // MEGABYTE)
        await exporting.files(
            version, folder, progress=lambda done, _total: bar.update(task, completed=done // MEGABYTE)
        )


async def _gguf(exporting: ModelExport, version: ModelVersion, file: Path, kind: NumberType) -> None:
    try:
        writer = importlib.import_module("tidemill_cli.gguf_files")
    except ModuleNotFoundError as error:
        message = "GGUF is written by the package gguf, which is not installed: pip install gguf"
        raise InvalidInput(message) from error
    if await asyncio.to_thread(file.is_dir):
        message = f"{file} is a folder: name the file, such as {file / 'model.gguf'}"
        raise InvalidInput(message)
    await asyncio.to_thread(file.parent.mkdir, parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".export-", dir=file.parent) as folder:
        await _folder(exporting, version, Path(folder))
        licence = await exporting.licence_of(version)
        await asyncio.to_thread(
            writer.write_gguf, Path(folder), file, name=version.id, kind=kind.value, licence=licence
        )
