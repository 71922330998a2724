import asyncio
from pathlib import Path

import pytest

from services.trainer.tests.derivations.fakes import INT8, MERGE, Deriving, key_of
from services.trainer.tests.registry.fakes import ADA
from services.trainer.tests.registry.test_shared import BOB, share
from services.trainer.tests.training.fakes import request
from tidemill_core.aggregate import ObjectRef
from tidemill_core.errors import DependencyUnavailable
from tidemill_testkit.polling import eventually
from tidemill_trainer.derivations import derive_version
from tidemill_trainer.derivations.domain import Derivation, DerivationSource, DerivationState
from tidemill_trainer.derivations.errors import DerivationFailed, DerivationFinished
from tidemill_trainer.derivations.methods import DropLayers, PruneWanda
from tidemill_trainer.registry.domain.model_version import ModelVersion, ModelVersionWasRegistered, VersionState
from tidemill_trainer.registry.domain.sources import DerivedSource
from tidemill_trainer.registry.register_version import RegisterVersion


@pytest.fixture
async def deriving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deriving:
    monkeypatch.setattr(derive_version, "POLL_INTERVAL_S", 0.01)
    monkeypatch.setattr(derive_version, "STORE_INTERVAL_S", 0.01)
    return await Deriving(folder=tmp_path).ready()


def registered(deriving: Deriving) -> list[ModelVersionWasRegistered]:
    events = [each for each in deriving.registry.versions.published if isinstance(each, ModelVersionWasRegistered)]
    return [each for each in events if each.model == "small"]


async def says(deriving: Deriving, derivation: Derivation, message: str) -> bool:
    return (await deriving.derivations.get(derivation.project, derivation.id)).message == message


async def test_a_version_is_made_of_an_adapter_and_its_base(deriving: Deriving) -> None:
    done = await deriving.work(await deriving.create("helpdesk"))

    [version] = deriving.made()
    source = DerivedSource(
        derivation=done.id, source_version="helpdesk@1", method="quantize_int8", dataset_version="tickets@3"
    )
    assert (done.state, done.model_version, version.id) == (DerivationState.SUCCEEDED, "small@1", "small@1")
    assert (version.state, version.source, version.authors) == (VersionState.READY, source, ("ben", "cleo"))
    assert {each.file.path for each in version.artifacts} == {"README.md", "config.json", "model.safetensors"}
    [job] = deriving.process.jobs
    assert (job.weights, job.adapter, job.method) == (Path("smollm2@1"), Path("helpdesk@1"), INT8)
    [event] = registered(deriving)
    assert event.derived == source
    assert done.weight_bytes > 0
    assert done.source_bytes > 0
    assert not any((deriving.folder / "derivations").rglob("*.json"))


async def test_an_adapter_is_merged_in_the_format_of_its_base(deriving: Deriving) -> None:
    await deriving.work(await deriving.create("helpdesk", method=MERGE))

    assert deriving.process.jobs[0].method == MERGE
    [version] = deriving.made()
    card = next(each for each in version.artifacts if each.file.path == "README.md").object
    assert card is not None
    text = deriving.registry.artifacts.objects[card.key].decode()
    assert "`helpdesk@1`, an adapter on `smollm2@1`" in text
    assert "`tickets@3`" in text


async def test_a_method_finds_the_examples_of_its_dataset_version_and_its_card_names_them(deriving: Deriving) -> None:
    done = await deriving.work(await deriving.create("helpdesk", method=DropLayers(layers=2, calibration="tickets@2")))

    assert done.state is DerivationState.SUCCEEDED
    assert deriving.process.examples_read == '{"id": "tickets@2"}\n'
    [version] = deriving.made()
    assert isinstance(version.source, DerivedSource)
    assert version.source.method == "drop_layers_2 on tickets@2"
    card = next(each for each in version.artifacts if each.file.path == "README.md").object
    assert card is not None
    assert "`drop_layers_2 on tickets@2`" in deriving.registry.artifacts.objects[card.key].decode()
    await deriving.work(await deriving.create("helpdesk"))
    assert deriving.process.examples_read == ""


async def test_a_dataset_version_that_is_gone_fails_the_derivation_by_its_name(deriving: Deriving) -> None:
    derivation = await deriving.create("smollm2", method=PruneWanda(sparsity=0.5, calibration="tickets"))
    del deriving.calibrations.versions["tickets@3"]

    done = await deriving.work(derivation)

    assert (done.state, done.reason, deriving.made()) == (DerivationState.FAILED, "DATASET_VERSION_NOT_FOUND", [])
    assert "tickets@3" in done.message


async def test_the_same_of_the_same_version_is_made_once(deriving: Deriving) -> None:
    first = await deriving.work(await deriving.create("helpdesk"))
    second = await deriving.work(await deriving.create("helpdesk"))
    other = await deriving.work(await deriving.create("helpdesk", method=MERGE))

    assert (first.model_version, second.model_version, other.model_version) == ("small@1", "small@1", "small@2")
    assert len(deriving.process.jobs) == 2
    assert second.weight_bytes == first.weight_bytes


async def test_a_worker_killed_while_it_stores_leaves_nothing_to_load_and_another_starts_over(
    deriving: Deriving, monkeypatch: pytest.MonkeyPatch
) -> None:
    derivation, put = await deriving.create("helpdesk"), deriving.registry.artifacts.put

    async def killed(*file: object, **more: object) -> ObjectRef:
        await put(*file, **more)  # type: ignore[arg-type] # what it was given
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(deriving.registry.artifacts, "put", killed)
        with pytest.raises(SystemExit):
            await deriving.work(derivation)
    assert deriving.made() == []

    done = await deriving.work(derivation)

    assert (done.state, done.attempt, done.model_version) == (DerivationState.SUCCEEDED, 2, "small@1")
    assert len(registered(deriving)) == 1


async def test_a_worker_killed_after_it_registered_registers_nothing_twice(
    deriving: Deriving, monkeypatch: pytest.MonkeyPatch
) -> None:
    derivation = await deriving.create("helpdesk")
    register = RegisterVersion.__call__

    async def killed(self: RegisterVersion, *made: object, **more: object) -> ModelVersion:
        await register(self, *made, **more)  # type: ignore[arg-type] # what it was given
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(RegisterVersion, "__call__", killed)
        with pytest.raises(SystemExit):
            await deriving.work(derivation)
    done = await deriving.work(derivation)

    assert (done.state, done.model_version) == (DerivationState.SUCCEEDED, "small@1")
    assert (len(deriving.process.jobs), len(registered(deriving))) == (1, 1)


async def test_workers_that_are_killed_again_and_again_end_it(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    deriving.files.error = SystemExit()
    for _ in range(3):
        with pytest.raises(SystemExit):
            await deriving.work(derivation)

    done = await deriving.work(derivation)

    assert (done.state, done.reason) == (DerivationState.FAILED, "WORKER_LOST")


async def test_while_the_store_is_away_it_waits_says_for_what_and_computes_once(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    deriving.registry.artifacts.away = True
    working = asyncio.create_task(deriving.work(derivation))
    await eventually(lambda: says(deriving, derivation, "waits for s3: no answer"))
    assert (await deriving.derivations.get("acme", derivation.id)).state is DerivationState.RUNNING

    deriving.registry.artifacts.away = False

    assert (await working).state is DerivationState.SUCCEEDED
    assert len(deriving.process.jobs) == 1


async def test_one_that_waits_for_the_store_is_cancelled(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    deriving.registry.artifacts.away = True
    working = asyncio.create_task(deriving.work(derivation))
    await eventually(lambda: says(deriving, derivation, "waits for s3: no answer"))

    await deriving.crud.cancel(ADA, derivation.id, request=request())

    assert ((await working).state, deriving.made()) == (DerivationState.CANCELLED, [])


async def test_one_that_is_cancelled_while_its_files_are_stored_makes_no_version(
    deriving: Deriving, monkeypatch: pytest.MonkeyPatch
) -> None:
    derivation, put = await deriving.create("helpdesk"), deriving.registry.artifacts.put

    async def cancelled(*file: object, **more: object) -> ObjectRef:
        await deriving.crud.cancel(ADA, derivation.id, request=request())
        return await put(*file, **more)  # type: ignore[arg-type] # what it was given

    monkeypatch.setattr(deriving.registry.artifacts, "put", cancelled)
    done = await deriving.work(derivation)

    assert (done.state, done.model_version, deriving.made()) == (DerivationState.CANCELLED, "", [])
    assert registered(deriving) == []


async def test_one_whose_version_is_being_saved_cannot_be_cancelled(
    deriving: Deriving, monkeypatch: pytest.MonkeyPatch
) -> None:
    derivation, add = await deriving.create("helpdesk"), deriving.registry.versions.add

    async def adding(*version: object, **more: object) -> ModelVersion:
        with pytest.raises(DerivationFinished, match="it is registering"):
            await deriving.crud.cancel(ADA, derivation.id, request=request())
        return await add(*version, **more)  # type: ignore[arg-type] # what it was given

    monkeypatch.setattr(deriving.registry.versions, "add", adding)
    done = await deriving.work(derivation)

    assert (done.state, done.model_version) == (DerivationState.SUCCEEDED, "small@1")


async def test_one_whose_worker_was_killed_before_the_version_was_saved_can_be_cancelled_again(
    deriving: Deriving, monkeypatch: pytest.MonkeyPatch
) -> None:
    derivation = await deriving.create("helpdesk")

    async def killed(*_version: object, **_more: object) -> ModelVersion:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(deriving.registry.versions, "add", killed)
        with pytest.raises(SystemExit):
            await deriving.work(derivation)
    left = await deriving.derivations.get("acme", derivation.id)
    assert left.state is DerivationState.REGISTERING
    deriving.process.begun.clear()
    deriving.process.gate = asyncio.Event()
    working = asyncio.create_task(deriving.work(derivation))
    await deriving.process.begun.wait()

    await deriving.crud.cancel(ADA, derivation.id, request=request())

    assert ((await working).state, deriving.made()) == (DerivationState.CANCELLED, [])


async def test_workers_that_are_stopped_do_not_count_as_lost(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    deriving.process.gate = asyncio.Event()
    for _ in range(5):
        deriving.process.begun.clear()
        working = asyncio.create_task(deriving.work(derivation))
        await deriving.process.begun.wait()
        working.cancel()
        with pytest.raises(asyncio.CancelledError):
            await working
    deriving.process.gate.set()

    done = await deriving.work(derivation)

    assert (done.state, done.attempt) == (DerivationState.SUCCEEDED, 6)


async def test_cancelling_stops_it_also_while_it_reads_its_source(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    deriving.files.gate = asyncio.Event()
    working = asyncio.create_task(deriving.work(derivation))
    await deriving.files.begun.wait()

    await deriving.crud.cancel(ADA, derivation.id, request=request())

    assert ((await working).state, deriving.process.jobs) == (DerivationState.CANCELLED, [])


async def test_a_failure_has_its_reason_and_makes_no_version(deriving: Deriving) -> None:
    deriving.process.error = DerivationFailed("took too much", reason="OUT_OF_MEMORY")

    done = await deriving.work(await deriving.create("helpdesk"))

    assert (done.state, done.reason, done.message) == (DerivationState.FAILED, "OUT_OF_MEMORY", "took too much")
    assert deriving.made() == []


async def test_a_file_that_may_not_be_part_of_a_model_makes_no_version(deriving: Deriving) -> None:
    deriving.process.more_files = {"model.bin": b"\x80\x04"}

    done = await deriving.work(await deriving.create("helpdesk"))

    assert (done.state, done.reason) == (DerivationState.FAILED, "ARTIFACT_REFUSED")
    assert deriving.made() == []


async def test_a_source_deleted_meanwhile_fails_it(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    await deriving.registry.delete("helpdesk")

    done = await deriving.work(derivation)

    assert (done.state, done.reason) == (DerivationState.FAILED, "MODEL_NOT_FOUND")


@pytest.mark.parametrize("shared", ["version", "base"])
async def test_one_that_was_queued_of_what_another_project_shares_makes_nothing(
    deriving: Deriving, shared: str
) -> None:
    """A worker does not rely on the check of the RPC."""
    await deriving.add_adapter("tuned", project=BOB.project)
    share(deriving.registry)
    source = DerivationSource(version="acme/smollm2@1")
    if shared == "base":
        source = DerivationSource(version="tuned@1", base="acme/smollm2@1")
    queued = Derivation(id="d", project=BOB.project, source=source, model="mine", method=INT8)
    await deriving.derivations.add(queued, request=request())

    done = await deriving.work(queued)

    assert (done.state, done.reason, deriving.made("mine")) == (DerivationState.FAILED, "NOT_DERIVABLE", [])
    assert deriving.process.jobs == []


async def test_cancelling_kills_the_process_and_makes_no_version(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    deriving.process.gate = asyncio.Event()
    working = asyncio.create_task(deriving.work(derivation))
    await deriving.process.begun.wait()

    await deriving.crud.cancel(ADA, derivation.id, request=request())
    done = await working

    assert (done.state, deriving.process.killed, deriving.made()) == (DerivationState.CANCELLED, 1, [])


async def test_a_worker_whose_lease_another_one_took_changes_nothing(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    deriving.process.gate = asyncio.Event()
    late = asyncio.create_task(deriving.work(derivation))
    await deriving.process.begun.wait()
    now = deriving.registry.clock.now()
    await deriving.derivations.update("acme", derivation.id, lambda each: each.claim(9, now=now), request=request())

    found = await late

    assert (found.epoch, found.state, deriving.made()) == (9, DerivationState.RUNNING, [])
    assert deriving.process.killed == 1


async def test_an_older_epoch_cannot_claim_it(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    await deriving.derivations.update(
        "acme", derivation.id, lambda each: each.claim(9, now=deriving.registry.clock.now()), request=request()
    )

    assert await deriving.derive_version(key_of(derivation), epoch=1) is None
    assert deriving.process.jobs == []


async def test_a_base_that_is_not_there_at_the_moment_is_waited_for(deriving: Deriving) -> None:
    derivation = await deriving.create("helpdesk")
    deriving.files.error = DependencyUnavailable("no answer", dependency="s3")
    assert (await deriving.work(derivation)).message == "waits for s3: no answer"

    deriving.files.error = None

    assert (await deriving.work(derivation)).state is DerivationState.SUCCEEDED
