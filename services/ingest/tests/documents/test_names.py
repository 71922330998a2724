"""Documents of sources whose masking names a model."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from services.ingest.tests.fakes import ACME, Ingest, submitted
from services.ingest.tests.masking.tiny_names import tiny_model
from tidemill.trainer.v1 import model_pb2
from tidemill.trainer.v1.model_registry_service_pb2_grpc import add_ModelRegistryServiceServicer_to_server
from tidemill_core.application import Caller
from tidemill_core.models.manifest import Manifest
from tidemill_ingest.anchors import Anchor, AnchorKind
from tidemill_ingest.documents.domain.version import Prepared
from tidemill_ingest.documents.names import ProcessNames, mask_names
from tidemill_ingest.documents.trainer import NoNameModels, TrainerNameModels
from tidemill_ingest.errors import DocumentRefused, NamesModelUnusable
from tidemill_ingest.masking.kinds import Masking
from tidemill_ingest.masking.names import ModelFolder
from tidemill_ingest.sources.domain import Source
from tidemill_testkit.stubs.trainer import StubModelRegistry

NAMED = Masking.of([], none=False, model="names@1")
ARTIFACTS = [
    model_pb2.Artifact(path=path, size=9, sha256="0" * 64, bucket="b", key=f"acme/{path}")
    for path in ("config.json", "tokenizer.json", "model.safetensors")
]


class Models:
    """Implements `ports.NameModels` with one folder."""

    def __init__(self, folder: Path) -> None:
        self.model = ModelFolder(path=folder, manifest=Manifest.from_folder(folder))

    async def folder(self, caller: Caller, reference: str) -> ModelFolder:
        assert caller.project
        assert reference
        return self.model


def prepared(text: str, **more: Any) -> Prepared:  # noqa: ANN401 - fields of Prepared
    given: dict[str, Any] = {
        "media_type": "text/plain",
        "title": "",
        "uri": "",
        "language": "",
        "readers": (),
        "metadata": {},
        "revision": 0,
        "steps": (),
        "masked": {},
        **more,
    }
    return Prepared(text=text, **given)


async def test_names_are_masked_where_the_source_names_a_model() -> None:
    ingest = await Ingest().with_source(Source(id="cms", project="acme", masking=NAMED))

    document = await ingest.accept(ACME, submitted("Ask Ada Lovelace, ada@acme.example."))

    found, _ = await ingest.reading.text(ACME, document.id, number=0)
    assert found.text == "Ask [PERSON], [EMAIL]."


async def test_a_document_is_held_back_while_the_model_cannot_be_used() -> None:
    masking = Masking.of([], none=False, model="gone@7")
    ingest = await Ingest().with_source(Source(id="cms", project="acme", masking=masking))

    with pytest.raises(NamesModelUnusable, match="'gone@7' is not in the registry") as refused:
        await ingest.accept(ACME, submitted("Ask Ada Lovelace."))

    assert refused.value.reason == "NAMES_MODEL_UNUSABLE"
    assert not ingest.texts_stored()
    assert not ingest.documents.published


async def test_a_source_can_refuse_what_it_would_mask() -> None:
    masking = Masking.of([], none=False, model="names@1", reject=True)
    ingest = await Ingest().with_source(Source(id="cms", project="acme", masking=masking))

    with pytest.raises(DocumentRefused, match="holds 2 email and 1 person, which its source refuses") as refused:
        await ingest.accept(ACME, submitted("Ada Lovelace, ada@acme.example, bob@acme.example."))
    document = await ingest.accept(ACME, submitted("Version 2.4.1 of order 4711."))

    assert refused.value.reason == "PERSONAL_DATA"
    assert len(ingest.texts_stored()) == 1
    assert document.current is not None


async def test_another_model_masks_unchanged_content_again() -> None:
    ingest = await Ingest().with_source()
    await ingest.accept(ACME, submitted("Ask Ada Lovelace."))

    def name_a_model(source: Source) -> None:
        source.masking = NAMED

    await ingest.sources.update("acme", "cms", name_a_model, request=submitted("").request)
    document = await ingest.accept(ACME, submitted("Ask Ada Lovelace."))

    assert document.current is not None
    assert document.current.number == 2


def test_text_title_metadata_and_places_are_masked_and_counted(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    model = ModelFolder(path=folder, manifest=Manifest.from_folder(folder))
    anchors = (Anchor(start=0, kind=AnchorKind.PAGE, number=1), Anchor(start=20, kind=AnchorKind.PAGE, number=2))

    done = mask_names(
        model,
        prepared(
            "ask Ada Lovelace or\n\nmail Berlin [EMAIL]",
            title="of Acme",
            metadata={"by": "Ada", "n": 3.0},
            anchors=anchors,
        ),
        Masking.of(["person", "place"], none=False, model="names@1"),
    )

    assert isinstance(done, Prepared)
    assert done.text == "ask [PERSON] or\n\nmail [PLACE] [EMAIL]"
    assert (done.title, done.metadata) == ("of Acme", {"by": "[PERSON]", "n": 3.0})
    assert [anchor.start for anchor in done.anchors] == [0, done.text.index("\nmail")]
    assert done.masked == {"person": 2, "place": 1}


async def test_a_model_runs_in_a_process_and_a_broken_one_says_what_is_wrong(tmp_path: Path) -> None:
    models = Models(tiny_model(tmp_path))
    names = ProcessNames(models, workers=1, cpu_s=60, wall_s=120, memory_bytes=8 * 1024**3)
    try:
        done = await names.mask(ACME, prepared("ask Ada"), NAMED)
        config = models.model.path / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "id2label": {"0": "O", "1": "VERB"}}))
        models.model = ModelFolder(path=models.model.path, manifest=Manifest.from_folder(models.model.path))
        with pytest.raises(NamesModelUnusable, match=r"config\.json"):
            await names.mask(ACME, prepared("ask Ada"), NAMED)
    finally:
        await names.stop()

    assert done.text == "ask [PERSON]"


@asynccontextmanager
async def registry(*versions: model_pb2.ModelVersion) -> AsyncIterator[TrainerNameModels]:
    class Cache:
        async def fetch(self, *_: object) -> Path:
            return Path("/")

    stub = StubModelRegistry()  # type: ignore[abstract] # it has what others call
    for version in versions:
        stub.add(version)
    server = grpc.aio.server()
    add_ModelRegistryServiceServicer_to_server(stub, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield TrainerNameModels(channel, artifacts=cast("Any", Cache()), max_bytes=100)
    await server.stop(0)


@pytest.mark.parametrize(
    ("version", "why"),
    [
        (model_pb2.ModelVersion(id="names@1", artifacts=ARTIFACTS[:1]), "has no tokenizer.json"),
        (model_pb2.ModelVersion(id="names@1", artifacts=ARTIFACTS[:2]), "has no safetensors file"),
        (
            model_pb2.ModelVersion(id="names@1", state=model_pb2.MODEL_VERSION_STATE_FAILED, message="it is damaged"),
            "is failed, not ready: it is damaged",
        ),
        (
            model_pb2.ModelVersion(
                id="names@1",
                artifacts=[*ARTIFACTS, model_pb2.Artifact(path="b.safetensors", size=101, sha256="0" * 64)],
            ),
            r"has 110 bytes of weights; the limit is 100",
        ),
    ],
)
async def test_a_version_that_cannot_be_used_is_refused_by_its_reason(
    version: model_pb2.ModelVersion, why: str
) -> None:
    async with registry(version) as models:
        with pytest.raises(NamesModelUnusable, match=why):
            await models.folder(ACME, "names@1")


async def test_a_version_is_fetched_once() -> None:
    async with registry(model_pb2.ModelVersion(id="names@1", artifacts=ARTIFACTS)) as models:
        assert await models.folder(ACME, "names@1") is await models.folder(ACME, "names@1")


async def test_without_a_registry_no_model_can_be_used() -> None:
    with pytest.raises(NamesModelUnusable, match="the operator has to set INGEST_TRAINER_ADDRESS"):
        await NoNameModels().folder(ACME, "names@1")
