"""Kubernetes objects of a training on several machines: an Indexed Job whose pods are torchrun's agents.

Its pods find the first one by a headless Service (kubernetes.io, "Job with Pod-to-Pod Communication"). Where one fails,
torch.distributed ends the others; the Job starts them again, and they go on from the checkpoint in the volume of all.
What ranks send one another is unpickled: a NetworkPolicy lets no other pod reach their ports.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from tidemill_trainer.training.domain.cluster import Cluster

SPEC_FILE, SPEC_FOLDER = "training.json", "/etc/tidemill"
WORK_FOLDER, SHARED_FOLDER = "/work", "/shared"
PORT = 29400
ATTEMPTS = 3
"""How often each pod may be started again: the Job counts those of all together."""
TO_FETCH_AND_SAVE = timedelta(minutes=10)
"""What a training takes beside its limit of time."""
SECRETS = {
    "TRAINER_S3_ENDPOINT": False,
    "TRAINER_S3_ACCESS_KEY": False,
    "TRAINER_S3_SECRET_KEY": False,
    "TRAINER_S3_SECURE": True,
}
"""The keys of the Secret, which are variables of the pods; True of those that may be missing."""
INSTANCE = "app.kubernetes.io/instance"
"""The label of all that belongs to one training."""
_USER = 10001
"""Of the trainer's image."""


def objects_of(
    cluster: Cluster, *, name: str, spec: str, time: timedelta, annotations: Mapping[str, str]
) -> Sequence[dict[str, Any]]:
    """Return the objects in the order in which they are applied; `spec` is the text that the pods read.

    The ConfigMap is named by the text, too: pods of a Job that is there already read what they were started with.
    """
    own, config_name = {INSTANCE: name}, f"{name}-{hashlib.sha256(spec.encode()).hexdigest()[:8]}"
    meta = {
        "name": name,
        "namespace": cluster.namespace,
        "labels": {"app.kubernetes.io/name": "tidemill-trainer"} | own,
        "annotations": dict(annotations),
    }
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": meta | {"name": config_name},
        "immutable": True,
        "data": {SPEC_FILE: spec},
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": own,
            "ports": [{"name": "rendezvous", "port": PORT}],
        },
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": meta,
        "spec": {
            "completionMode": "Indexed",
            "completions": cluster.nodes,
            "parallelism": cluster.nodes,
            "backoffLimit": ATTEMPTS * cluster.nodes,
            "activeDeadlineSeconds": int((time + TO_FETCH_AND_SAVE).total_seconds()),
            "template": {
                "metadata": {"labels": meta["labels"]},
                "spec": _pod(cluster, name, config_name),
            },
        },
    }
    return [_policy(meta, own), config, service, job]


def _policy(meta: Mapping[str, Any], own: Mapping[str, str]) -> dict[str, Any]:
    pods = {"matchLabels": own}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": meta,
        "spec": {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": pods}]}]},
    }


def _pod(cluster: Cluster, name: str, config: str) -> dict[str, Any]:
    shared_memory = [{"name": "shared-memory", "emptyDir": {"medium": "Memory"}}] if cluster.gpus else []
    return {
        "restartPolicy": "Never",
        "subdomain": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(cluster, name)],
        "volumes": [
            {"name": "spec", "configMap": {"name": config}},
            {"name": "work", "emptyDir": {}},
            {"name": "temporary", "emptyDir": {}},
            {"name": "shared", "persistentVolumeClaim": {"claimName": cluster.volume_claim}},
            *shared_memory,
        ],
    }


def _container(cluster: Cluster, name: str) -> dict[str, Any]:
    taken: dict[str, Any] = {"cpu": str(cluster.cpus_per_node), "memory": str(cluster.memory_bytes_per_node)}
    if cluster.gpus:
        taken["nvidia.com/gpu"] = str(cluster.processes_per_node)
    # nccl's processes of one machine exchange through it; a container has 64 MiB of it otherwise
    shared_memory = [{"name": "shared-memory", "mountPath": "/dev/shm"}] if cluster.gpus else []  # noqa: S108 - ditto
    return {
        "name": "training",
        "image": cluster.image,
        "command": ["python", "-m", "tidemill_trainer.cluster", f"{SPEC_FOLDER}/{SPEC_FILE}"],
        "env": [
            {"name": "TIDEMILL_WORK_FOLDER", "value": WORK_FOLDER},
            {"name": "TIDEMILL_SHARED_FOLDER", "value": SHARED_FOLDER},
            {"name": "TIDEMILL_MAIN_ADDRESS", "value": f"{name}-0.{name}"},
            {"name": "TIDEMILL_MAIN_PORT", "value": str(PORT)},
            *(_secret(cluster, key, optional=optional) for key, optional in SECRETS.items()),
        ],
        "resources": {"requests": taken, "limits": taken},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "spec", "mountPath": SPEC_FOLDER, "readOnly": True},
            {"name": "work", "mountPath": WORK_FOLDER},
            {"name": "temporary", "mountPath": "/tmp"},  # noqa: S108 - of the pod alone
            {"name": "shared", "mountPath": SHARED_FOLDER},
            *shared_memory,
        ],
    }


def _secret(cluster: Cluster, key: str, *, optional: bool) -> dict[str, Any]:
    reference: dict[str, Any] = {"name": cluster.secret, "key": key}
    if optional:
        reference["optional"] = True
    return {"name": key, "valueFrom": {"secretKeyRef": reference}}
