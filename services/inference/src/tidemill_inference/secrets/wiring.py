"""Puts the secrets together."""

from collections.abc import Mapping
from dataclasses import dataclass

from tidemill_core.application import ResourceKey
from tidemill_inference.secrets.crud import SecretCrud
from tidemill_inference.secrets.domain.errors import SecretNotFound
from tidemill_inference.secrets.domain.secret import HostRules
from tidemill_inference.secrets.grpc import GrpcSecretService
from tidemill_inference.secrets.lookup import ProjectKeys
from tidemill_inference.secrets.mongo import SECRETS
from tidemill_inference.secrets.operator import OperatorSecrets
from tidemill_inference.settings import InferenceSettings
from tidemill_kit.service.backend import Backend
from tidemill_kit.store.envelope import keyring_of
from tidemill_kit.workers.controller import Controller
from tidemill_kit.workers.rewrapping import rewrapping, under_other_keys

_COLLECTION = "secrets"


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretParts:
    """What secrets are made of."""

    servicer: GrpcSecretService
    keys: ProjectKeys
    controllers: list[Controller[ResourceKey]]


def wire_secrets(settings: InferenceSettings, backend: Backend, environment: Mapping[str, str]) -> SecretParts:
    """Return the secrets; `environment` holds those of the operator."""
    store = backend.aggregates(_COLLECTION, SECRETS, missing=SecretNotFound, quota=settings.quota(_COLLECTION))
    seals, rules = keyring_of(settings), HostRules.of(settings.secrets_allowed_hosts)
    operators = OperatorSecrets(environment, settings.secrets_dir)
    crud = SecretCrud(secrets=store, seals=seals, rules=rules, setting="INFERENCE_SECRETS_ALLOWED_HOSTS")
    controllers = []
    if seals is not None:
        pending = backend.indexed(under_other_keys(backend.database[_COLLECTION], seals.first))
        controllers.append(rewrapping("secret", store, seals, pending))
    return SecretParts(
        servicer=GrpcSecretService(store, crud, operators),
        keys=ProjectKeys(operators=operators, secrets=store, seals=seals, rules=rules),
        controllers=controllers,
    )
