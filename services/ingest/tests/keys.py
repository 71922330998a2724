"""Keys of projects with a store in memory, under keys of an operator that are made for the test."""

import base64

from tidemill_core.application import Clock
from tidemill_ingest.projects import Projects
from tidemill_ingest.pseudonyms.domain import ProjectKey
from tidemill_ingest.pseudonyms.mongo import PROJECT_KEYS, ProjectKeyNotFound
from tidemill_ingest.pseudonyms.project_secrets import KeepProjectSecrets
from tidemill_ingest.pseudonyms.secret import DerivedSecret
from tidemill_kit.store.envelope import Keyring
from tidemill_testkit.stores import InMemoryAggregates

OLD = base64.b64encode(bytes(range(32))).decode()
NEW = base64.b64encode(bytes(range(32, 64))).decode()


def project_secrets(projects: Projects, clock: Clock, *, operator: str = OLD) -> KeepProjectSecrets:
    """Return the secrets of projects under the operator's keys; without a key, as where none is configured."""
    return KeepProjectSecrets(
        keys=InMemoryAggregates[ProjectKey](codec=PROJECT_KEYS, missing=ProjectKeyNotFound, clock=clock),
        seals=Keyring.of(operator) if operator else None,
        projects=projects,
        derive=DerivedSecret,
    )
