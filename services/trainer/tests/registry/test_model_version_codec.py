"""Facts of a base are stored with the version, and documents without them stay readable."""

from tidemill_core.models.manifest import ArtifactFile, Manifest
from tidemill_kit.store.aggregates import Identity
from tidemill_testkit.clocks import NOON
from tidemill_trainer.registry.domain.base_facts import BaseFacts, FileFacts
from tidemill_trainer.registry.domain.model_version import Artifact, ModelVersion
from tidemill_trainer.registry.domain.sources import FolderSource
from tidemill_trainer.registry.mongo import ModelVersionCodec

FILE = ArtifactFile("model.safetensors", 1, "a" * 64)
IDENTITY = Identity(
    id="m@1", project="acme", labels={}, version=1, seq=0, create_time=None, update_time=None, deleted=False
)


def test_the_facts_of_files_are_kept_and_may_be_missing() -> None:
    source = FolderSource(manifest=Manifest(files=(FILE,)))
    version = ModelVersion.begin(project="acme", model="m", number=1, source=source, labels={}, by="r", now=NOON)
    version.artifacts = (Artifact(file=FILE, facts=FileFacts(modules=("layers.*.q_proj",))),)
    document = ModelVersionCodec().encode(version)

    assert ModelVersionCodec().decode(IDENTITY, document, 1).facts.names == ["q_proj"]
    del document["artifacts"][0]["facts"]
    assert ModelVersionCodec().decode(IDENTITY, document, 1).facts == BaseFacts()
