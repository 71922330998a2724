"""Derives a version; a worker may be killed at any point and another one starts it over."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from tidemill_core.application import Clock, Request, Requeue, ResourceKey
from tidemill_core.errors import (
    DependencyUnavailable,
    Internal,
    InvalidInput,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    TidemillError,
    isolated,
)
from tidemill_trainer.derivations.domain import Derivation, DerivationState, derivation_card, refuse_shared
from tidemill_trainer.derivations.errors import DerivationFailed, DerivationLost
from tidemill_trainer.derivations.methods import calibration_of
from tidemill_trainer.derivations.ports import (
    Calibrations,
    DerivationFolder,
    DerivationJob,
    Derivations,
    Deriving,
    Files,
    Folders,
    Sources,
)
from tidemill_trainer.registry.domain.model_version import ModelVersion
from tidemill_trainer.registry.ports import Inspector
from tidemill_trainer.registry.register_version import MadeVersion, RegisterVersion

POLL_INTERVAL_S = 1.0
"""Interval at which a cancellation is checked."""
STORE_INTERVAL_S = 10.0
"""Interval at which files that are made are stored again while the store is away."""
INTERRUPTED_S = 5.0
"""How long a worker that is stopped tries to record that."""
_WEIGHTS = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeriveVersion:
    """Emits DerivationHasEnded, and ModelVersionWasRegistered through RegisterVersion.

    Files are made in a local folder and stored first; the version is saved as READY in one write, under a number that
    derives from source and method. So no crash leaves a version that could be loaded half made, and what was registered
    before a crash, or by another derivation of the same version, is found instead of computed again. Just before that
    write the derivation becomes REGISTERING: one that was cancelled never makes a version.
    """

    derivations: Derivations
    sources: Sources
    files: Files
    calibrations: Calibrations
    folders: Folders
    deriving: Deriving
    inspector: Inspector
    register: RegisterVersion
    max_fruitless: int
    """How many attempts may end with their worker."""
    clock: Clock

    async def __call__(self, key: ResourceKey, *, epoch: int) -> Requeue | None:
        """Derive the version as the holder of this epoch of the derivation's lease."""
        try:
            return await self._attempt(key, epoch)
        except (NotFound, DerivationLost):
            return None
        except asyncio.CancelledError:  # the lease was lost, or the process stops: no trace of a crash
            with suppress(NotFound, DerivationLost, DependencyUnavailable, TimeoutError):
                async with asyncio.timeout(INTERRUPTED_S):
                    await self._write(key, lambda each: each.wait("was interrupted: it starts over", epoch=epoch))
            raise
        finally:
            await self.folders.remove(key)

    async def _attempt(self, key: ResourceKey, epoch: int) -> Requeue | None:
        now = self.clock.now()
        derivation = await self._write(key, lambda each: each.claim(epoch, now=now))
        try:
            with isolated():
                await self._derive(key, derivation, epoch)
        except DependencyUnavailable as unavailable:
            message = f"waits for {unavailable.dependency}: {unavailable.message}"
            await self._write(key, lambda each: each.wait(message, epoch=epoch))
            return Requeue()
        except (InvalidInput, NotFound, PermissionDenied, PreconditionFailed, Internal) as refused:
            await self._fail(key, refused, epoch)
        except TidemillError:
            raise
        except Exception:
            await self._fail(key, Internal("the worker failed; see its log"), epoch)
            raise
        return None

    async def _derive(self, key: ResourceKey, derivation: Derivation, epoch: int) -> None:
        source, base = await self._sources(derivation)
        made = await self.register.made(key.project, derivation.model, derivation.made_from)
        if made is None:
            self._refuse_hopeless(derivation)
            if derivation.state is DerivationState.REGISTERING:
                derivation = await self._write(key, lambda each: each.compute(epoch=epoch))
            async with self._watched(key, epoch):
                made = await self._made(key, derivation, epoch, source=source, base=base)
        now, name = self.clock.now(), made.id
        bytes_before = sum(_weight_bytes(each) for each in (source, base) if each)
        bytes_after = _weight_bytes(made)

        def succeeded(derivation: Derivation) -> None:
            derivation.succeed(name, source_bytes=bytes_before, weight_bytes=bytes_after, now=now, epoch=epoch)

        await self._write(key, succeeded)

    def _refuse_hopeless(self, derivation: Derivation) -> None:
        if derivation.fruitless > self.max_fruitless:
            message = (
                f"{self.max_fruitless} workers exited while they derived it: check that their container's memory "
                "exceeds that of its trainings and TRAINER_DERIVATION_MEMORY_BYTES together"
            )
            raise DerivationFailed(message, reason="WORKER_LOST")

    async def _sources(self, derivation: Derivation) -> tuple[ModelVersion, ModelVersion | None]:
        """Return the version and its base; raises NotDerivable of what another project shares."""
        project, of, base = derivation.project, derivation.source, None
        source = await self.sources.version(project, of.version, field="source_version")
        refuse_shared(project, source)
        if of.base:
            base = await self.sources.version(project, of.base, field="base")
            refuse_shared(project, source, base=base)
        return source, base

    async def _made(
        self, key: ResourceKey, derivation: Derivation, epoch: int, *, source: ModelVersion, base: ModelVersion | None
    ) -> ModelVersion:
        folder = await self.folders.open(key)
        fetched = await self.files.fetch(source)
        if calibration := calibration_of(derivation.method):
            await self.calibrations.fetch(key.project, calibration, folder.calibration)
        job = DerivationJob(
            folder=folder,
            weights=await self.files.fetch(base) if base else fetched,
            weights_name=base.id if base else source.id,
            adapter=fetched if base else None,
            method=derivation.method,
        )
        facts = await self.deriving(job)
        await self.folders.write_card(folder, derivation_card(derivation, facts=sorted(facts.items())))
        files = await self.folders.files(folder)
        made = MadeVersion(
            project=derivation.project,
            model=derivation.model,
            source=derivation.made_from,
            files=files,
            facts={file.path: await self.inspector.inspect(file.path, folder.made / file.path) for file in files},
            creator=derivation.requester,
            authors=derivation.authors,
        )
        return await self._registered(key, made, epoch, folder=folder)

    async def _registered(
        self, key: ResourceKey, made: MadeVersion, epoch: int, *, folder: DerivationFolder
    ) -> ModelVersion:
        async def registering() -> None:
            await self._write(key, lambda each: each.register(epoch=epoch))

        while True:
            try:
                return await self.register(made, folder.made, before_saving=registering)
            except DependencyUnavailable as away:  # what took hours to compute is not computed again
                await self._say(key, f"waits for {away.dependency}: {away.message}", epoch)
                await asyncio.sleep(STORE_INTERVAL_S)

    async def _say(self, key: ResourceKey, message: str, epoch: int) -> None:
        with suppress(DependencyUnavailable):
            await self._write(key, lambda each: each.say(message, epoch=epoch))

    @asynccontextmanager
    async def _watched(self, key: ResourceKey, epoch: int) -> AsyncIterator[None]:
        """Stop the block, which kills its process, once the derivation is cancelled or another worker's.

        Raises:
            DerivationLost: it is.

        """
        limit = asyncio.timeout(None)
        try:
            async with limit:
                watching = asyncio.create_task(self._watch(key, epoch, limit), name="derivation_watch")
                try:
                    yield
                finally:
                    watching.cancel()
        except TimeoutError:
            if not limit.expired():
                raise
            raise DerivationLost(key.id) from None

    async def _watch(self, key: ResourceKey, epoch: int, limit: asyncio.Timeout) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            try:
                with suppress(DependencyUnavailable):  # it goes on as long as its lease holds
                    await self._check_claimed(key, epoch)
            except (NotFound, DerivationLost):
                limit.reschedule(asyncio.get_running_loop().time())
                return

    async def _check_claimed(self, key: ResourceKey, epoch: int) -> None:
        (await self.derivations.get(key.project, key.id)).refuse_unless_claimed(epoch)

    async def _fail(self, key: ResourceKey, refused: TidemillError, epoch: int) -> None:
        now, reason, message = self.clock.now(), refused.reason, refused.message
        await self._write(key, lambda each: each.fail(reason=reason, message=message, now=now, epoch=epoch))

    async def _write(self, key: ResourceKey, change: Callable[[Derivation], None]) -> Derivation:
        return await self.derivations.update(key.project, key.id, change, request=Request.internal())


def _weight_bytes(version: ModelVersion) -> int:
    return sum(artifact.file.size for artifact in version.artifacts if artifact.file.path.endswith(_WEIGHTS))
