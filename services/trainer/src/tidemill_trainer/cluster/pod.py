"""Prepares a pod of a training on several machines, and becomes the torchrun agent of its processes."""

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from tidemill_kit.store.objects import ExchangeBucket, ObjectStore
from tidemill_trainer.child_processes import child_environment
from tidemill_trainer.cluster.spec import ClusterSpec
from tidemill_trainer.learning.job import Job


class StoreSettings(BaseSettings):
    """The object store, from TRAINER_<NAME> as the service's."""

    model_config = SettingsConfigDict(env_prefix="TRAINER_")

    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: SecretStr
    s3_secure: bool = False
    s3_timeout_s: float = Field(60.0, gt=0)


class PodSettings(BaseSettings):
    """What the manifest says of a pod, from TIDEMILL_<NAME>; Kubernetes numbers it by JOB_COMPLETION_INDEX."""

    model_config = SettingsConfigDict(env_prefix="TIDEMILL_")

    work_folder: Path
    """Of this pod alone."""
    shared_folder: Path
    """Of all pods."""
    main_address: str
    """The host of the first pod."""
    main_port: int = Field(ge=1, le=65535)
    node: int = Field(ge=0, validation_alias="JOB_COMPLETION_INDEX")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One machine of a training."""

    spec: ClusterSpec
    settings: PodSettings

    @property
    def folder(self) -> Path:
        """The training's folder in the shared volume."""
        return self.settings.shared_folder / self.spec.name

    @property
    def made(self) -> Path:
        """What it makes, an adapter or full weights: the folder is there only when it is whole."""
        return self.folder / "made"

    @property
    def is_done(self) -> bool:
        """Whether it has been made, by an earlier attempt."""
        return self.made.exists()

    async def prepare(self, store: StoreSettings) -> Path:
        """Fetch and verify base and examples into this pod's own folder, and return the job file.

        Raises:
            ObjectMissing: an object was erased since the manifest was rendered.
            ObjectDamaged: its bytes are other ones.
            DependencyUnavailable: the store does not answer.

        """
        work = self.settings.work_folder
        objects = ObjectStore(
            store.s3_endpoint,
            store.s3_access_key,
            store.s3_secret_key.get_secret_value(),
            secure=store.s3_secure,
            timeout_s=store.s3_timeout_s,
        )
        needed = {work / "base" / path: ref for path, ref in self.spec.base.items()}
        needed[work / "train.jsonl"] = self.spec.examples
        for path, ref in needed.items():
            await asyncio.to_thread(path.parent.mkdir, parents=True, exist_ok=True)
            await ExchangeBucket(objects, ref.bucket).get_file(ref, path)
        await asyncio.to_thread(self.folder.mkdir, parents=True, exist_ok=True)
        job = Job(
            folder=str(self.folder),
            examples=str(work / "train.jsonl"),
            made=str(self.made),
            base=str(work / "base"),
            **self.spec.job,
        )
        await asyncio.to_thread(job.write, work / "job.json")
        return work / "job.json"

    def command(self, job_file: Path) -> Sequence[str]:
        """Return torchrun's command for this pod: a rank that ends ends all, and Kubernetes starts the pods again."""
        spec, settings = self.spec, self.settings
        agent = {
            "nnodes": spec.nodes,
            "nproc-per-node": spec.processes_per_node,
            "node-rank": settings.node,
            "master-addr": settings.main_address,
            "master-port": settings.main_port,
            "rdzv-id": spec.name,
            "max-restarts": 0,
        }
        given = [f"--{name}={value}" for name, value in agent.items()]
        program = ["-m", "tidemill_trainer.learning", str(job_file)]
        return [sys.executable, "-m", "torch.distributed.run", *given, *program]

    def environment(self) -> Mapping[str, str]:
        """Return the agent's variables; the store's secrets are not among them."""
        return child_environment(self.settings.work_folder)

    def become_agent(self, job_file: Path) -> None:
        """Replace this process; what libraries print may quote examples, and goes to a file of the pod."""
        log = os.open(self.settings.work_folder / "stderr.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(log, 2)
        command = self.command(job_file)
        os.execve(command[0], list(command), dict(self.environment()))  # noqa: S606 - our own interpreter, without a shell
