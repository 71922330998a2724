from pathlib import Path

import pytest

from libs.sdk.tests.fakes import FakeTidemill, away
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill_client import Tidemill
from tidemill_core.errors import DependencyUnavailable
from tidemill_core.models.manifest import ArtifactRefused


async def test_a_folder_is_uploaded_with_its_progress(tidemill: Tidemill, services: FakeTidemill, folder: Path) -> None:
    seen: list[tuple[int, int]] = []

    version = await tidemill.models.import_folder("m", folder, progress=lambda done, total: seen.append((done, total)))

    assert version.state == pb.MODEL_VERSION_STATE_READY
    assert services.trainer.contents["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert services.trainer.contents["1_Pooling/config.json"] == b'{"pooling": true}'
    assert seen[-1] == (version.total_bytes, version.total_bytes)
    assert len(seen) > 5
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


async def test_only_what_is_missing_is_uploaded(tidemill: Tidemill, services: FakeTidemill, folder: Path) -> None:
    await tidemill.models.import_folder("m", folder)
    version = services.trainer.versions["acme", "m@1"]
    version.state = pb.MODEL_VERSION_STATE_UPLOADING
    version.artifacts[0].stored = False
    services.trainer.contents.clear()

    await tidemill.models.import_folder("m", folder)

    assert list(services.trainer.contents) == [version.artifacts[0].path]


async def test_the_same_folder_again_sends_nothing(tidemill: Tidemill, services: FakeTidemill, folder: Path) -> None:
    await tidemill.models.import_folder("m", folder)
    services.trainer.contents.clear()

    assert (await tidemill.models.import_folder("m", folder)).id == "m@1"
    assert services.trainer.contents == {}


async def test_a_file_whose_upload_met_unavailable_is_sent_again(
    tidemill: Tidemill, services: FakeTidemill, folder: Path
) -> None:
    services.trainer.fails.errors["UploadModelFile model.safetensors"] = [away("s3")]

    version = await tidemill.models.import_folder("m", folder)

    assert version.state == pb.MODEL_VERSION_STATE_READY
    assert services.trainer.fails.calls.count("UploadModelFile model.safetensors") == 2


async def test_a_file_that_the_registry_refuses_is_named(tidemill: Tidemill, folder: Path) -> None:
    (folder / "notes.txt").write_text("auto_map")

    with pytest.raises(Exception, match=r"notes\.txt: names code to run") as refused:
        await tidemill.models.import_folder("m", folder)

    assert getattr(refused.value, "reason", "") == "ARTIFACT_REFUSED"


@pytest.mark.parametrize("name", ["pytorch_model.bin", "modeling.py", ".hidden.json"])
async def test_a_folder_that_holds_more_than_data_is_refused_before_anything_is_sent(
    tidemill: Tidemill, services: FakeTidemill, folder: Path, name: str
) -> None:
    (folder / name).write_bytes(b"\x80\x04")

    with pytest.raises(ArtifactRefused, match=name):
        await tidemill.models.import_folder("m", folder)

    assert services.trainer.versions == {}


async def test_a_version_that_the_registry_fetches_is_waited_for(tidemill: Tidemill, services: FakeTidemill) -> None:
    services.trainer.waits = 2

    version = await tidemill.models.import_hugging_face("m", "org/model")

    assert version.state == pb.MODEL_VERSION_STATE_READY


async def test_waiting_for_a_hub_that_is_away_ends_with_what_it_waits_for(
    tidemill: Tidemill, services: FakeTidemill
) -> None:
    services.trainer.waits = 1000

    with pytest.raises(DependencyUnavailable, match="waits for hugging_face"):
        await tidemill.models.import_hugging_face("m", "org/model", patience_s=0.1)
