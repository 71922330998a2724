"""What a manifest of a training uses of Kubernetes' API by its reference; all else is refused."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")]
Key = Annotated[
    str,
    StringConstraints(pattern=r"^([a-z0-9][-a-z0-9.]{0,251}[a-z0-9]/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"),
]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, alias_generator=to_camel)


class Meta(Strict):
    name: Label
    namespace: Label
    labels: dict[Key, LabelValue]
    annotations: dict[Key, str]


class ConfigMap(Strict):
    api_version: Literal["v1"]
    kind: Literal["ConfigMap"]
    metadata: Meta
    immutable: bool
    data: dict[Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")], str]


class ServicePort(Strict):
    name: Label
    port: Port


class ServiceSpec(Strict):
    cluster_ip: Literal["None"] = Field(alias="clusterIP")
    publish_not_ready_addresses: bool
    selector: dict[Key, LabelValue]
    ports: list[ServicePort]


class Service(Strict):
    api_version: Literal["v1"]
    kind: Literal["Service"]
    metadata: Meta
    spec: ServiceSpec


class Selector(Strict):
    match_labels: dict[Key, LabelValue]


class Peer(Strict):
    pod_selector: Selector


class Ingress(Strict):
    from_: list[Peer] = Field(alias="from", min_length=1)


class NetworkPolicySpec(Strict):
    pod_selector: Selector
    policy_types: list[Literal["Ingress", "Egress"]]
    ingress: list[Ingress]


class NetworkPolicy(Strict):
    api_version: Literal["networking.k8s.io/v1"]
    kind: Literal["NetworkPolicy"]
    metadata: Meta
    spec: NetworkPolicySpec


class SecretKey(Strict):
    name: str
    key: Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]{1,253}$")]
    optional: bool = False


class ValueFrom(Strict):
    secret_key_ref: SecretKey


class Variable(Strict):
    name: str
    value: str | None = None
    value_from: ValueFrom | None = None

    @model_validator(mode="after")
    def _one(self) -> "Variable":
        assert (self.value is None) != (self.value_from is None)
        return self


class Resources(Strict):
    requests: dict[str, Quantity]
    limits: dict[str, Quantity]


class Capabilities(Strict):
    drop: list[str]


class ContainerSecurity(Strict):
    allow_privilege_escalation: Literal[False]
    capabilities: Capabilities
    read_only_root_filesystem: bool


class Mount(Strict):
    name: Label
    mount_path: str
    read_only: bool = False


class Container(Strict):
    name: Label
    image: str
    command: list[str]
    env: list[Variable]
    resources: Resources
    security_context: ContainerSecurity
    volume_mounts: list[Mount]


class Seccomp(Strict):
    type: Literal["RuntimeDefault"]


class PodSecurity(Strict):
    run_as_non_root: Literal[True]
    run_as_user: int
    fs_group: int
    seccomp_profile: Seccomp


class ConfigMapVolume(Strict):
    name: Label


class EmptyDir(Strict):
    medium: Literal["", "Memory"] = ""


class Claim(Strict):
    claim_name: str


class Volume(Strict):
    name: Label
    config_map: ConfigMapVolume | None = None
    empty_dir: EmptyDir | None = None
    persistent_volume_claim: Claim | None = None

    @model_validator(mode="after")
    def _one(self) -> "Volume":
        assert sum(each is not None for each in (self.config_map, self.empty_dir, self.persistent_volume_claim)) == 1
        return self


class PodSpec(Strict):
    restart_policy: Literal["Never", "OnFailure"]
    subdomain: Label
    automount_service_account_token: bool
    enable_service_links: bool
    security_context: PodSecurity
    containers: list[Container]
    volumes: list[Volume]

    @model_validator(mode="after")
    def _mounts(self) -> "PodSpec":
        there = {volume.name for volume in self.volumes}
        assert {mount.name for each in self.containers for mount in each.volume_mounts} == there
        return self


class TemplateMeta(Strict):
    labels: dict[Key, LabelValue]


class Template(Strict):
    metadata: TemplateMeta
    spec: PodSpec


class JobSpec(Strict):
    completion_mode: Literal["Indexed"]
    completions: Annotated[int, Field(ge=1)]
    parallelism: Annotated[int, Field(ge=1)]
    backoff_limit: Annotated[int, Field(ge=0)]
    active_deadline_seconds: Annotated[int, Field(ge=1)]
    template: Template


class Job(Strict):
    api_version: Literal["batch/v1"]
    kind: Literal["Job"]
    metadata: Meta
    spec: JobSpec

    @model_validator(mode="after")
    def _hosts_of_pods_are_labels(self) -> "Job":
        assert len(f"{self.metadata.name}-{self.spec.completions - 1}") <= 63
        return self
