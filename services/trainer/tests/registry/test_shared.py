"""A model of another project is read as long as that shares it, with what it takes to load it, and no more."""

import pytest

from services.trainer.tests.registry.fakes import ADA, Registry, model_files
from tidemill.trainer.v1 import model_pb2 as pb
from tidemill_core.aggregate import ObjectRef
from tidemill_core.application import Caller, PageRequest, Request
from tidemill_core.errors import NotFound
from tidemill_core.models.manifest import ArtifactFile
from tidemill_core.resources import Write
from tidemill_kit.access.grants import Shared
from tidemill_testkit.access import grant
from tidemill_testkit.clocks import NOON
from tidemill_trainer.errors import ModelNotFound, ModelVersionNotFound
from tidemill_trainer.registry.domain.model import Model
from tidemill_trainer.registry.domain.model_version import Artifact, ModelVersion
from tidemill_trainer.registry.domain.sources import TrainedSource
from tidemill_trainer.registry.messages import version_message

BOB = Caller(project="globex", subject="user:bob")
NAME = "acme/smollm2"
SHOWN = {"id", "project", "etag", "model", "number", "state", "source", "artifacts", "digest"} | {
    "total_bytes",
    "stored_bytes",
    "kind",
}


def share(registry: Registry, name: str = NAME, *, to: str = BOB.project, seq: int = 1, revoked: bool = False) -> None:
    """Have a project share one of its models."""
    registry.grants.apply(grant(name, Shared.MODEL, to=to, seq=seq, revoked=revoked))


async def add_adapter(registry: Registry, *, base: str = "smollm2@1") -> ModelVersion:
    """Add what a run of acme has trained."""
    await registry.models.upsert(
        Model(id="helpdesk", project=ADA.project), lambda model: model.begin("run"), request=Request.internal()
    )
    ref = ObjectRef(bucket="b", key="acme/helpdesk@1/s", size=1, sha256="0" * 64)
    version = ModelVersion.made(
        project=ADA.project,
        model="helpdesk",
        number=1,
        source=TrainedSource(run="run-1", base=base, dataset_version="tickets@3"),
        artifacts=[Artifact(file=ArtifactFile("adapter_model.safetensors", 1, "0" * 64), object=ref)],
        now=NOON,
        creator="user:ada",
    )
    version.labels, version.authors, version.message = {"team": "help"}, ("user:ada",), "trained"
    return await registry.versions.add(version, request=Request.internal())


async def test_a_shared_model_has_its_owner_s_files_under_the_name_that_is_asked_for(registry: Registry) -> None:
    owned = await registry.register(model_files())
    share(registry)

    for name, found in ((NAME, "acme/smollm2@1"), (f"{NAME}@1", "acme/smollm2@1")):
        version = await registry.crud.get_version(BOB, name)
        assert (version.id, version.model, version.project) == (found, NAME, "acme")
        assert version.artifacts == owned.artifacts
        assert await registry.crud.base_of(BOB, version) is None


@pytest.mark.parametrize("name", [NAME, f"{NAME}@1", f"{NAME}@7", "acme/other", "nowhere/smollm2"])
@pytest.mark.parametrize("given", ["nothing", "revoked", "to another"])
async def test_what_is_not_shared_and_what_is_not_there_have_one_error(
    registry: Registry, name: str, given: str
) -> None:
    await registry.register(model_files())
    if given == "to another":
        share(registry, to="initech")
    if given == "revoked":
        share(registry)
        share(registry, seq=2, revoked=True)

    with pytest.raises(ModelNotFound) as refused:
        await registry.crud.get_version(BOB, name)

    assert str(refused.value) == str(ModelNotFound(name.partition("@")[0]))


async def test_a_version_that_a_shared_model_lacks_is_named_as_it_was_asked_for(registry: Registry) -> None:
    await registry.register(model_files())
    share(registry)

    with pytest.raises(ModelVersionNotFound, match=f"{NAME}@7"):
        await registry.crud.get_version(BOB, f"{NAME}@7")


async def test_an_adapter_brings_its_base_and_does_not_show_what_it_was_made_of(registry: Registry) -> None:
    await registry.register(model_files())
    await add_adapter(registry)
    share(registry, "acme/helpdesk")

    version = await registry.crud.get_version(BOB, "acme/helpdesk")
    base = await registry.crud.base_of(BOB, version)

    shown = version_message(version)
    assert shown.source.trained == pb.TrainedSource(base="acme/smollm2@1")
    assert {field.name for field, _ in shown.ListFields()} <= SHOWN
    assert base is not None
    assert base.id == "acme/smollm2@1"
    with pytest.raises(NotFound):
        await registry.crud.get_version(BOB, "acme/smollm2@1")


async def test_a_base_that_a_third_project_shares_is_not_shared_on(registry: Registry) -> None:
    await add_adapter(registry, base="initech/base@1")
    share(registry, "acme/helpdesk")

    version = await registry.crud.get_version(BOB, "acme/helpdesk")

    assert version_message(version).source.trained.base == "initech/base@1"
    assert await registry.crud.base_of(BOB, version) is None


async def test_one_s_own_name_with_the_project_is_one_s_own(registry: Registry) -> None:
    await registry.register(model_files())

    assert await registry.crud.get_version(ADA, NAME) == await registry.crud.get_version(ADA, "smollm2")


async def test_a_grant_does_not_let_a_reader_list_change_or_delete(registry: Registry) -> None:
    await registry.register(model_files())
    share(registry)
    write = Write(request=Request.internal())

    for refused in (
        registry.crud.get(BOB, NAME),
        registry.crud.list_versions(BOB, NAME, PageRequest()),
        registry.crud.delete(BOB, NAME, write),
        registry.upload.complete(BOB, version_id=f"{NAME}@1", request=Request.internal()),
    ):
        with pytest.raises(ModelNotFound):
            await refused
