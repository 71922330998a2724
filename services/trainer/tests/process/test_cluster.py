"""What the pods of a manifest run, here as two local processes: from the store to the adapter, also after a kill."""

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct

from services.trainer.tests.learning.tiny import write_base
from services.trainer.tests.process.test_training_process import has_ended, import_base, run_of, trainer
from services.trainer.tests.process.trainer_process import TrainerProcess
from services.trainer.tests.training import kubernetes_api
from tidemill.trainer.v1 import training_pb2
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill.trainer.v1.training_service_pb2_grpc import TrainingServiceStub
from tidemill_local import Addresses
from tidemill_testkit.access import admin_channel
from tidemill_testkit.polling import eventually
from tidemill_testkit.ports import free_port

STEPS = 14
REPLACED_AFTER_S = 2.0
"""Kubernetes waits 10 s, and longer with each failure."""
__all__ = ["trainer"]


@dataclass(kw_only=True)
class Pods:
    """The pods of a Job as local processes; the volume of all is a folder, and names of hosts are this machine."""

    job: kubernetes_api.Job
    files: Mapping[str, str]
    secrets: Mapping[str, str]
    folder: Path
    shared: Path
    port: str = field(default_factory=lambda: str(free_port()))
    reports: list[Mapping[str, Any]] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)
    """The pods that failed, in the order of their ends."""
    live: dict[int, asyncio.subprocess.Process] = field(default_factory=dict)
    started: int = 0

    async def run(self, *, killed_after: int = 0) -> Sequence[int]:
        """Have all succeed as a Job does; return those that failed. The second is killed after that checkpoint, once.

        One that fails is replaced alone, while those of its training may live on.
        """
        self.reports, self.failed = [], []
        try:
            async with asyncio.TaskGroup() as group:
                for node in range(self.job.spec.completions):
                    group.create_task(self._succeeded(node, killed_after))
        finally:
            for pod in self.live.values():
                if pod.returncode is None:
                    pod.kill()
        return self.failed

    async def _succeeded(self, node: int, killed_after: int) -> None:
        while await self._ended(node, killed_after):
            self.failed.append(node)
            assert len(self.failed) <= self.job.spec.backoff_limit
            await asyncio.sleep(REPLACED_AFTER_S)

    async def _ended(self, node: int, killed_after: int) -> int:
        pod = self.live[node] = await self._started(node)
        if pod.stdout:
            async for line in pod.stdout:
                self.reports.append(json.loads(line))
                if killed_after and self.reports[-1].get("at") == killed_after and not self.failed:
                    self.live[1].kill()
        return await pod.wait()

    async def _started(self, node: int) -> asyncio.subprocess.Process:
        (container,) = self.job.spec.template.spec.containers
        self.started += 1
        work = self.folder / f"work-{self.started}"
        work.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        given = {
            each.name: each.value if each.value is not None else self.secrets.get(each.name) for each in container.env
        }
        variables = given | {
            "JOB_COMPLETION_INDEX": str(node),
            "TIDEMILL_WORK_FOLDER": str(work),
            "TIDEMILL_SHARED_FOLDER": str(self.shared),
            "TIDEMILL_MAIN_ADDRESS": "127.0.0.1",
            "TIDEMILL_MAIN_PORT": self.port,
        }
        program, *arguments = container.command
        assert program == "python"
        mounted = [str(self.folder / Path(each).name) if each.startswith("/etc/") else each for each in arguments]
        environment = {"PATH": os.environ["PATH"], "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *mounted,
            env=environment | {name: value for name, value in variables.items() if value is not None},
            stdout=asyncio.subprocess.PIPE if node == 0 else asyncio.subprocess.DEVNULL,
        )

    def logged(self, event: str, name: str) -> list[Any]:
        return [each[name] for each in self.reports if each["event"] == event]


async def rendered(trainer: TrainerProcess, stack: Addresses, folder: Path, plan: str) -> Pods:
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        asked = rpc.RenderTrainingManifestRequest(
            plan=plan, nodes=2, cpus_per_node=1, volume_claim="training", secret=f"{plan}-keys"
        )
        answer = await TrainingServiceStub(channel).RenderTrainingManifest(asked)
    _, config, _, job = map(json.loads, answer.objects)
    secrets = {
        "TRAINER_S3_ENDPOINT": stack.s3.endpoint,
        "TRAINER_S3_ACCESS_KEY": stack.s3.access_key,
        "TRAINER_S3_SECRET_KEY": stack.s3.secret_key,
    }
    found = kubernetes_api.Job.model_validate(job)
    return Pods(job=found, files=config["data"], secrets=secrets, folder=folder, shared=folder / "shared")


async def trained_by_the_service(trainer: TrainerProcess, plan: training_pb2.TrainingPlan) -> training_pb2.TrainingRun:
    async with admin_channel(f"127.0.0.1:{trainer.port}", project="acme") as channel:
        stub = TrainingServiceStub(channel)
        await stub.CreateTrainingPlan(rpc.CreateTrainingPlanRequest(plan=plan))
        started = (await stub.StartTrainingRun(rpc.StartTrainingRunRequest(plan=plan.id))).run.id
    await eventually(lambda: has_ended(trainer, started))
    return await run_of(trainer, started)


def weights_of(pods: Pods) -> str:
    """Return the digest of the weights that were made; the card beside them names folders of the pod."""
    weights = pods.shared / pods.job.metadata.name / "made" / "adapter_model.safetensors"
    return hashlib.sha256(weights.read_bytes()).hexdigest()


@pytest.mark.long
@pytest.mark.timeout(500)
async def test_the_pods_of_a_manifest_train_what_the_service_does_and_go_on_after_a_kill(
    trainer: TrainerProcess, stack: Addresses, tmp_path: Path
) -> None:
    base = await asyncio.to_thread(write_base, tmp_path / "base")
    await asyncio.to_thread(trainer.start)
    await import_base(trainer, base)
    args = {"max_steps": STEPS, "per_device_train_batch_size": 2, "learning_rate": 0.01, "max_length": 256}
    plan = training_pb2.TrainingPlan(
        id="lora", dataset="sft", base="tiny", method="sft", args=ParseDict(args, Struct())
    )
    run = await trained_by_the_service(trainer, plan)

    pods = await rendered(trainer, stack, tmp_path / "whole", "lora")
    assert await pods.run() == []
    assert pods.logged("begun", "step") == [0]
    assert pods.logged("step", "loss") == pytest.approx([point.loss for point in run.progress.losses], rel=1e-3)
    assert pods.logged("step", "loss")[-1] < 0.95 * pods.logged("step", "loss")[0]
    made = weights_of(pods)

    killed = await rendered(trainer, stack, tmp_path / "killed", "lora")
    assert {0, 1} == set(await killed.run(killed_after=10))
    assert killed.logged("begun", "step")[0] == 0
    assert {10} == set(killed.logged("begun", "step")[1:])
    assert weights_of(killed) == made
    assert await killed.run() == []  # a pod that is started once more has nothing to do
    assert killed.logged("begun", "step") == []
