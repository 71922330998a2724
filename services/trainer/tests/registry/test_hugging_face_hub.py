import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from services.trainer.tests.registry.fakes import FakeHub, model_files, safetensors
from services.trainer.tests.registry.hub_server import HubServer
from tidemill_core.errors import DependencyUnavailable, InvalidInput
from tidemill_core.models.manifest import ArtifactRefused
from tidemill_core.origins import AllowedHosts
from tidemill_trainer.errors import SourceRefused
from tidemill_trainer.registry import hugging_face_hub
from tidemill_trainer.registry.hugging_face_hub import HuggingFaceHub
from tidemill_trainer.registry.ports import Hub

OLD, NEW = "a" * 40, "b" * 40
REPOSITORY = "org/model"
WEIGHTS = "model.safetensors"


def hub_of(server: HubServer, folder: Path, *, token: str = "", hosts: Sequence[str] = ()) -> HuggingFaceHub:
    hub = HuggingFaceHub(
        folder / "downloads",
        endpoint=server.endpoint,
        token=token,
        token_projects=["acme"],
        timeout_s=2.0,
        allowed=AllowedHosts.of(hosts),
    )
    hub.prepare()
    return hub


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as running:
        running.publish(REPOSITORY, OLD, model_files())
        yield running


async def fetched(hub: Hub, path: str, *, commit: str = OLD, project: str = "acme") -> bytes:
    snapshot = await hub.snapshot(project, REPOSITORY, commit)
    (file,) = [file for file in snapshot.files if file.path == path]
    async with hub.fetch(snapshot, file) as (artifact, local):
        content = local.read_bytes()
    assert (artifact.size, artifact.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert not local.exists()
    return content


class TestEveryHub:
    """Contract suite of the fake and the real adapter."""

    @pytest.fixture(params=["fake", "hugging face"])
    def hub(self, request: pytest.FixtureRequest, server: HubServer, tmp_path: Path) -> Hub:
        if request.param == "hugging face":
            return hub_of(server, tmp_path)
        fake = FakeHub(tmp_path)
        fake.publish(REPOSITORY, OLD, model_files())
        return fake

    async def test_a_branch_and_a_commit_mean_a_commit(self, hub: Hub) -> None:
        assert await hub.commit_of("acme", REPOSITORY, "main") == OLD
        assert await hub.commit_of("acme", REPOSITORY, OLD) == OLD

    async def test_a_snapshot_reports_the_size_of_every_file(self, hub: Hub) -> None:
        snapshot = await hub.snapshot("acme", REPOSITORY, OLD)

        assert {file.path: file.size for file in snapshot.files} == {
            path: len(content) for path, content in model_files().items()
        }

    @pytest.mark.parametrize("path", sorted(model_files()))
    async def test_a_file_is_fetched_and_gone_afterwards(self, hub: Hub, path: str) -> None:
        assert await fetched(hub, path) == model_files()[path]

    @pytest.mark.parametrize(("repository", "revision"), [(REPOSITORY, "v2"), ("org/other", "main")])
    async def test_what_is_not_there_is_refused(self, hub: Hub, repository: str, revision: str) -> None:
        with pytest.raises(SourceRefused):
            await hub.commit_of("acme", repository, revision)


async def test_a_download_that_broke_off_goes_on_where_it_stopped(server: HubServer, tmp_path: Path) -> None:
    server.breaks_after[WEIGHTS] = 10

    with pytest.raises(DependencyUnavailable):
        await fetched(hub_of(server, tmp_path), WEIGHTS)
    content = await fetched(hub_of(server, tmp_path), WEIGHTS)

    assert content == model_files()[WEIGHTS]
    assert server.requests == [WEIGHTS, f"{WEIGHTS} bytes=10-"]


async def test_two_that_request_the_same_file_at_once_both_get_it(server: HubServer, tmp_path: Path) -> None:
    server.commits[OLD][WEIGHTS] = safetensors(2_000_000)
    hub = hub_of(server, tmp_path)

    both = await asyncio.gather(fetched(hub, WEIGHTS), fetched(hub, WEIGHTS))

    assert list(both) == [safetensors(2_000_000)] * 2


@pytest.mark.parametrize("path", sorted(model_files()))
async def test_other_bytes_than_announced_are_thrown_away(server: HubServer, tmp_path: Path, path: str) -> None:
    server.replaced[path] = b"x" * len(model_files()[path])

    with pytest.raises(DependencyUnavailable, match="does not match the hub's digest"):
        await fetched(hub_of(server, tmp_path), path)

    server.replaced.clear()
    assert await fetched(hub_of(server, tmp_path), path) == model_files()[path]


async def test_more_bytes_than_announced_are_thrown_away(server: HubServer, tmp_path: Path) -> None:
    server.replaced[WEIGHTS] = model_files()[WEIGHTS] + bytes(5_000_000)

    with pytest.raises(DependencyUnavailable, match="does not match the hub's digest"):
        await fetched(hub_of(server, tmp_path), WEIGHTS)


async def test_a_file_that_was_refused_is_not_kept(server: HubServer, tmp_path: Path) -> None:
    hub = hub_of(server, tmp_path)
    snapshot = await hub.snapshot("acme", REPOSITORY, OLD)

    with pytest.raises(ArtifactRefused):
        async with hub.fetch(snapshot, snapshot.files[0]) as (_, local):
            raise ArtifactRefused(local.name, "names code to run")

    assert list((tmp_path / "downloads").rglob("*.part")) == []


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_hub_in_trouble_is_asked_again_later(server: HubServer, tmp_path: Path, status: int) -> None:
    server.status = status

    with pytest.raises(DependencyUnavailable, match=f"answered {status}"):
        await hub_of(server, tmp_path).commit_of("acme", REPOSITORY, "main")


async def test_a_hub_that_is_not_there_is_asked_again_later(tmp_path: Path) -> None:
    hub = HuggingFaceHub(tmp_path, endpoint="http://127.0.0.1:9", token="", token_projects=[], timeout_s=2.0)

    with pytest.raises(DependencyUnavailable, match=r"http://127\.0\.0\.1:9 is unavailable"):
        await hub.commit_of("acme", REPOSITORY, "main")


async def test_a_private_repository_needs_the_token(server: HubServer, tmp_path: Path) -> None:
    server.token = "hf_secret"  # noqa: S105 - not one

    with pytest.raises(InvalidInput, match="TRAINER_HUGGING_FACE_TOKEN"):
        await hub_of(server, tmp_path).commit_of("acme", REPOSITORY, "main")
    assert await fetched(hub_of(server, tmp_path, token="hf_secret"), "config.json")  # noqa: S106 - ditto


async def test_the_token_reads_for_the_projects_that_the_operator_named_only(server: HubServer, tmp_path: Path) -> None:
    server.token = "hf_secret"  # noqa: S105 - not one
    hub = hub_of(server, tmp_path, token="hf_secret")  # noqa: S106 - ditto

    snapshot = await hub.snapshot("acme", REPOSITORY, OLD)
    with pytest.raises(SourceRefused, match="TRAINER_HUGGING_FACE_TOKEN_PROJECTS"):
        await hub.commit_of("globex", REPOSITORY, "main")
    with pytest.raises(SourceRefused):
        await hub.snapshot("globex", REPOSITORY, OLD)
    with pytest.raises(SourceRefused):
        async with hub.fetch(replace(snapshot, project="globex"), snapshot.files[0]):
            pass


async def test_the_token_goes_to_the_endpoint_and_not_where_that_redirects_to(tmp_path: Path) -> None:
    with HubServer() as hub, HubServer() as storage:
        for each in (hub, storage):
            each.publish(REPOSITORY, OLD, model_files())
        hub.token, hub.storage = "hf_secret", storage.endpoint
        made = hub_of(hub, tmp_path, token="hf_secret", hosts=[storage.endpoint.removeprefix("http://")])  # noqa: S106

        assert await fetched(made, WEIGHTS) == model_files()[WEIGHTS]
        assert set(hub.credentials) == {"Bearer hf_secret"}
        assert set(storage.credentials) == {""}


async def test_a_redirect_inside_is_not_followed(tmp_path: Path) -> None:
    with HubServer() as hub, HubServer() as inside:
        for each in (hub, inside):
            each.publish(REPOSITORY, OLD, model_files())
        hub.storage = inside.endpoint

        with pytest.raises(DependencyUnavailable):
            await fetched(hub_of(hub, tmp_path), WEIGHTS)
        assert inside.requests == []
        assert inside.credentials == []


async def test_a_list_of_files_without_end_is_broken_off_and_a_commit_is_asked_for_without_it(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hugging_face_hub, "MAX_INFO_BYTES", 200)
    hub = hub_of(server, tmp_path)

    commit = await hub.commit_of("acme", REPOSITORY, "main")
    with pytest.raises(SourceRefused, match="more than 200 bytes"):
        await hub.snapshot("acme", REPOSITORY, commit)


async def test_what_is_no_hub_is_asked_again_later(server: HubServer, tmp_path: Path) -> None:
    server.status = 200

    with pytest.raises(DependencyUnavailable, match="does not report"):
        await hub_of(server, tmp_path).commit_of("acme", REPOSITORY, "main")
