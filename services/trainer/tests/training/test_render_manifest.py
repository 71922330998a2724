import json
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.trainer.tests.registry.fakes import ADA, model_files
from services.trainer.tests.training import kubernetes_api
from services.trainer.tests.training.fakes import Harness, dataset_version, request
from services.trainer.tests.training.test_grpc import ApiClient, served
from tidemill.trainer.v1 import training_service_pb2 as rpc
from tidemill_core.errors import InvalidInput
from tidemill_trainer.cluster.spec import ClusterSpec
from tidemill_trainer.errors import DatasetVersionNotFound, TrainingPlanNotFound, TrainingRunNotFound
from tidemill_trainer.learning.job import Job
from tidemill_trainer.training.domain.cluster import Cluster
from tidemill_trainer.training.domain.memorisation import MemorisationCheck
from tidemill_trainer.training.domain.plan import RunLimits
from tidemill_trainer.training.domain.rewards import Reward
from tidemill_trainer.training.domain.run import RunState, TrainingRun
from tidemill_trainer.training.domain.trial import HeldOut, Trial
from tidemill_trainer.training.render_manifest import TrainingSource

BATCH = {"per_device_train_batch_size": 4.0}
PLAN = TrainingSource(plan="lora")


def cluster(**changes: Any) -> Cluster:  # noqa: ANN401 - as Cluster takes it
    given: dict[str, Any] = {"nodes": 2, "secret": "store-keys", "volume_claim": "training"}
    return Cluster(**given | changes)


@pytest.fixture
async def harness(tmp_path: Path) -> Harness:
    harness = await Harness(folder=tmp_path).with_base()
    harness.datasets.publish(dataset_version())
    return harness


async def rendered(harness: Harness, source: TrainingSource = PLAN, **changes: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - ditto
    objects = await harness.render_manifest(ADA, source, cluster(**changes))
    return {each["kind"]: each for each in objects}


def spec_of(objects: dict[str, dict[str, Any]], folder: Path) -> ClusterSpec:
    path = folder / "training.json"
    path.write_text(objects["ConfigMap"]["data"]["training.json"], encoding="utf-8")
    return ClusterSpec.read(path)


async def test_a_plan_is_a_policy_a_config_map_a_service_and_an_indexed_job(harness: Harness, tmp_path: Path) -> None:
    await harness.plan(args=BATCH, limits=RunLimits(time=timedelta(hours=2), memory_bytes=2**31))

    objects = await rendered(harness, nodes=2, processes_per_node=2, cpus_per_node=8, namespace="ml")

    kubernetes_api.ConfigMap.model_validate(objects["ConfigMap"])
    kubernetes_api.Service.model_validate(objects["Service"])
    policy = kubernetes_api.NetworkPolicy.model_validate(objects["NetworkPolicy"])
    job = kubernetes_api.Job.model_validate(objects["Job"])
    name = job.metadata.name
    assert {each["metadata"]["labels"]["app.kubernetes.io/instance"] for each in objects.values()} == {name}
    (volume,) = [each.config_map for each in job.spec.template.spec.volumes if each.config_map]
    assert volume.name == objects["ConfigMap"]["metadata"]["name"]
    assert (job.spec.completions, job.spec.parallelism, job.metadata.namespace) == (2, 2, "ml")
    assert job.spec.active_deadline_seconds == 2 * 3600 + 600
    (container,) = job.spec.template.spec.containers
    assert container.resources.limits == {"cpu": "8", "memory": str(2**31)} == container.resources.requests
    values = {each.name: each.value for each in container.env}
    assert values["TIDEMILL_MAIN_ADDRESS"] == f"{name}-0.{job.spec.template.spec.subdomain}"
    assert int(values["TIDEMILL_MAIN_PORT"] or 0) == objects["Service"]["spec"]["ports"][0]["port"]
    own = {"app.kubernetes.io/instance": name}
    assert own.items() <= job.spec.template.metadata.labels.items()
    assert objects["Service"]["spec"]["selector"] == own == policy.spec.pod_selector.match_labels
    assert [peer.pod_selector.match_labels for each in policy.spec.ingress for peer in each.from_] == [own]
    assert policy.spec.policy_types == ["Ingress"]
    spec = spec_of(objects, tmp_path)
    assert (spec.name, spec.nodes, spec.processes_per_node) == (name, 2, 2)
    assert spec.examples == dataset_version().train
    assert {"config.json", "model.safetensors"} <= set(spec.base)
    made = Job(folder="f", examples="e", made="a", base="b", **spec.job)
    assert (made.args["max_steps"], made.args["seed"]) == (-1, 42)
    assert (made.threads, made.memory_bytes, made.device) == (8, 2**32, "cpu")


async def test_secrets_are_named_and_not_there(harness: Harness) -> None:
    await harness.plan(args=BATCH)

    objects = await rendered(harness)

    (container,) = kubernetes_api.Job.model_validate(objects["Job"]).spec.template.spec.containers
    secrets = {each.name: each.value_from.secret_key_ref for each in container.env if each.value_from}
    assert {key: (ref.name, ref.key) for key, ref in secrets.items()} == {
        key: ("store-keys", key)
        for key in ("TRAINER_S3_ENDPOINT", "TRAINER_S3_ACCESS_KEY", "TRAINER_S3_SECRET_KEY", "TRAINER_S3_SECURE")
    }
    assert not [each for each in container.env if "S3" in each.name and each.value]
    assert "Secret" not in objects


async def test_on_gpus_each_process_takes_one(harness: Harness, tmp_path: Path) -> None:
    await harness.plan(args=BATCH)

    objects = await rendered(harness, processes_per_node=2, gpus=True)

    pod = kubernetes_api.Job.model_validate(objects["Job"]).spec.template.spec
    (shared,) = [each.name for each in pod.volumes if each.empty_dir and each.empty_dir.medium == "Memory"]
    assert [each.mount_path for each in pod.containers[0].volume_mounts if each.name == shared] == ["/dev/shm"]  # noqa: S108
    taken = objects["Job"]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert taken["limits"]["nvidia.com/gpu"] == taken["requests"]["nvidia.com/gpu"] == "2"
    assert spec_of(objects, tmp_path).job["device"] == "cuda"


async def test_the_same_training_has_the_same_name_and_another_one_another(harness: Harness) -> None:
    await harness.plan(args=BATCH)
    names = [(await rendered(harness))["Job"]["metadata"]["name"] for _ in range(2)]
    names += [(await rendered(harness, nodes=4))["Job"]["metadata"]["name"]]
    await harness.change(args=BATCH | {"seed": 9.0})
    names += [(await rendered(harness))["Job"]["metadata"]["name"]]

    assert names[0] == names[1]
    assert len(set(names)) == 3


async def test_with_more_memory_it_has_the_name_and_folder_of_before_and_a_config_map_of_its_own(
    harness: Harness, tmp_path: Path
) -> None:
    await harness.plan(args=BATCH)
    before = await rendered(harness)
    await harness.change(limits=RunLimits(time=timedelta(hours=9), memory_auto=True))
    defaults = replace(harness.render_manifest.defaults, checkpoint_steps=3, rank_timeout_s=5.0)
    harness.render_manifest = replace(harness.render_manifest, defaults=defaults)

    after = await rendered(harness, memory_bytes_per_node=2**33, cpus_per_node=16, image="trainer:2", namespace="ml")

    for kind in ("NetworkPolicy", "Service", "Job"):
        assert after[kind]["metadata"]["name"] == before[kind]["metadata"]["name"]
    assert spec_of(after, tmp_path).name == spec_of(before, tmp_path).name == after["Job"]["metadata"]["name"]
    assert after["ConfigMap"]["metadata"]["name"] != before["ConfigMap"]["metadata"]["name"]


async def test_a_run_is_rendered_as_it_was_queued(harness: Harness, tmp_path: Path) -> None:
    queued = await harness.queued(args=BATCH | {"seed": 5.0})
    await harness.change(args=BATCH | {"seed": 9.0}, limits=RunLimits(memory_bytes=2**30))

    objects = await rendered(harness, TrainingSource(run=queued.id))

    spec = spec_of(objects, tmp_path)
    assert (spec.job["args"]["seed"], spec.job["base_name"], spec.job["memory_bytes"]) == (5, "smollm2@1", 2**31)
    assert objects["Job"]["metadata"]["annotations"]["tidemill/source"] == f"run/{queued.id}"


@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"nodes": 0}, "nodes", "is 0; it must be 1 to 8"),
        ({"nodes": 3}, "nodes", "it must divide per_device_train_batch_size = 4"),
        ({"nodes": 4, "processes_per_node": 4}, "nodes", "at most 8 (TRAINER_MANIFEST_MAX_PROCESSES)"),
        ({"cpus_per_node": 2000}, "cpus_per_node", "is 2000; it must be 1 to 1024"),
        ({"memory_bytes_per_node": 5}, "memory_bytes_per_node", "is 5"),
        ({"secret": "Keys!"}, "secret", "'Keys!'"),
        ({"volume_claim": ""}, "volume_claim", "PersistentVolumeClaim"),
        ({"namespace": "a.b"}, "namespace", "'a.b'"),
        ({"image": "an image"}, "image", "'an image'"),
    ],
)
async def test_what_no_cluster_has_is_refused_by_name(
    harness: Harness, changes: dict[str, Any], field: str, text: str
) -> None:
    await harness.plan(args=BATCH)

    with pytest.raises(InvalidInput) as refused:
        await rendered(harness, **changes)

    assert any(each.field == field and text in each.description for each in refused.value.violations)


OF_THE_POD = {"folder", "examples", "made", "base", "processes", "max_file_bytes"}
OF_ATTEMPTS_AND_TRIALS = {"smaller_than", "held_out"}
REFUSED = {"reward_models", "teacher", "max_kl", "planted", "measure_s", "held_out_examples"}


async def test_every_field_of_a_job_is_rendered_or_of_what_is_refused(harness: Harness, tmp_path: Path) -> None:
    await harness.plan(args=BATCH)

    spec = spec_of(await rendered(harness), tmp_path)

    left_out = OF_THE_POD | OF_ATTEMPTS_AND_TRIALS | REFUSED
    assert not left_out & spec.job.keys()
    assert left_out | spec.job.keys() == {each.name for each in fields(Job)}


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize(
    ("changes", "field", "text"),
    [
        ({"method": "grpo", "rewards": (Reward(citation=True),)}, "plan.method", "is grpo, which needs rewards"),
        ({"method": "distill", "teacher": "large"}, "plan.method", "is distill, which needs a teacher"),
        ({"method": "reward"}, "plan.method", "is reward, which is measured on held-out pairs"),
        ({"memorisation": MemorisationCheck()}, "plan.memorisation", "is set, and pods plant and measure nothing"),
    ],
)
async def test_what_a_manifest_cannot_carry_is_refused_by_name(
    harness: Harness, changes: dict[str, Any], field: str, text: str, nodes: int
) -> None:
    await harness.registry.register(model_files(LICENSE=b"mine"), model="large")
    await harness.plan(**changes)

    with pytest.raises(InvalidInput) as refused:
        await rendered(harness, nodes=nodes)

    assert any(each.field == field and text in each.description for each in refused.value.violations)


async def test_what_is_trained_is_checked_as_a_run_is(harness: Harness) -> None:
    await harness.plan(args=BATCH)
    queued = await harness.queued(plan="other", args=BATCH)

    for source, error in (
        (TrainingSource(), InvalidInput),
        (TrainingSource(run=queued.id, plan="lora"), InvalidInput),
        (TrainingSource(run=queued.id, dataset_version="sft@1"), InvalidInput),
        (TrainingSource(plan="lora", dataset_version="others@1"), InvalidInput),
        (TrainingSource(plan="lora", dataset_version="sft@9"), DatasetVersionNotFound),
        (TrainingSource(plan="none"), TrainingPlanNotFound),
        (TrainingSource(run="none"), TrainingRunNotFound),
    ):
        with pytest.raises(error):
            await rendered(harness, source)


@pytest.mark.parametrize("what", ["trial", "imported"])
async def test_a_run_that_makes_no_model_is_refused(harness: Harness, what: str) -> None:
    queued = await harness.queued(args=BATCH)

    def change(run: TrainingRun) -> None:
        if what == "imported":
            run.state = RunState.IMPORTED
        else:
            run.trial = Trial(number=1, held_out=HeldOut(share=0.2, seed=1, measurements=1))

    await harness.runs.update("acme", queued.id, change, request=request())

    with pytest.raises(InvalidInput, match="name a run that makes a model"):
        await rendered(harness, TrainingSource(run=queued.id))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiClient]:
    async with served(tmp_path) as client:
        yield client


async def test_the_api_returns_the_objects_as_json(api: ApiClient) -> None:
    await api.create()
    asked = rpc.RenderTrainingManifestRequest(plan="lora", nodes=2, volume_claim="training")
    asked.secret = "store-keys"  # noqa: S105 - its name

    objects = [json.loads(each) for each in (await api.stub.RenderTrainingManifest(asked)).objects]

    assert [each["kind"] for each in objects] == ["NetworkPolicy", "ConfigMap", "Service", "Job"]
    job = kubernetes_api.Job.model_validate(objects[3])
    assert job.spec.template.spec.containers[0].resources.limits["cpu"] == "4"
    assert json.loads(objects[1]["data"]["training.json"])["nodes"] == 2
