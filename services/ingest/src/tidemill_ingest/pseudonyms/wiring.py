"""Pseudonyms, put together."""

from tidemill_ingest.feature import Wired
from tidemill_ingest.projects import Projects
from tidemill_ingest.pseudonyms.mongo import COLLECTION, PROJECT_KEYS, ProjectKeyNotFound
from tidemill_ingest.pseudonyms.project_secrets import KeepProjectSecrets
from tidemill_ingest.pseudonyms.secret import DerivedSecret
from tidemill_ingest.settings import IngestSettings
from tidemill_kit.erasure.documents import documents
from tidemill_kit.erasure.steps import Scope
from tidemill_kit.service.backend import Backend
from tidemill_kit.store.envelope import keyring_of
from tidemill_kit.workers.rewrapping import rewrapping, under_other_keys


def wire_pseudonyms(
    backend: Backend, settings: IngestSettings, *, projects: Projects
) -> tuple[KeepProjectSecrets, Wired]:
    """Return the secrets of projects, and what runs for them."""
    seals = keyring_of(settings)
    store = backend.aggregates(COLLECTION, PROJECT_KEYS, missing=ProjectKeyNotFound)
    secrets = KeepProjectSecrets(keys=store, seals=seals, projects=projects, derive=DerivedSecret)
    keys = backend.database[COLLECTION]
    workers = []
    if seals is not None:
        pending = backend.indexed(under_other_keys(keys, seals.first))
        workers.append(rewrapping("pseudonym-key", store, seals, pending))
    erasures = {Scope.PROJECT: [documents("pseudonym keys", keys)]}
    return secrets, Wired(workers=workers, erasures=erasures)
