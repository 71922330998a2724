"""Where a version comes from, and the key that says whether the same content was asked for before."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from tidemill_kit.core.errors import InvalidInput, Violation
from tidemill_kit.http.outgoing import Origin, never_reachable
from tidemill_kit.models.manifest import Manifest
from tidemill_trainer.domain.errors import SecretGiven

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,254}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
SECRET_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
LONGEST_NAME = 256


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _refuse(field: str, description: str) -> NoReturn:
    raise InvalidInput.of(Violation(field=field, description=description))


def _check_address(field: str, address: str) -> None:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InvalidInput.of(Violation(field=field, description="is no address")) from error
    if not usable:
        _refuse(field, 'must be an address such as "https://api.openai.com/v1"')
    if parts.username or parts.password or parts.query or parts.fragment:
        _refuse(field, "must carry no user, query or fragment: keys belong into a secret")


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """A folder whose files the client uploads."""

    manifest: Manifest

    @property
    def key(self) -> str:
        """The digest of the manifest."""
        return self.manifest.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class HuggingFaceSource:
    """A repository of the hub. `commit` is what `revision` means, empty until the hub was asked."""

    repository: str
    revision: str = "main"
    commit: str = ""

    def __post_init__(self) -> None:
        """Refuse names that the hub cannot have, so that they never become part of an address."""
        if not REPOSITORY.fullmatch(self.repository) or ".." in self.repository:
            _refuse("source.hugging_face.repository", 'must be "owner/name" or "name" as on the hub')
        if not REVISION.fullmatch(self.revision) or ".." in self.revision:
            _refuse("source.hugging_face.revision", "must be a branch, a tag or a commit")
        if COMMIT.fullmatch(self.revision):
            object.__setattr__(self, "commit", self.revision)  # frozen, and a full commit needs no asking

    @property
    def key(self) -> str:
        """The digest of repository and commit, or of the revision as it was named while the commit is unknown."""
        return _key("hugging_face", self.repository, self.commit or self.revision)

    @property
    def alias(self) -> str:
        """The key by the revision as it was named: a branch may mean another commit tomorrow."""
        return _key("hugging_face", self.repository, self.revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiSource:
    """A model behind an OpenAI-compatible endpoint; the key is only ever a secret's name.

    The secret is not part of the version's key: another secret for the same address is the same version. Another
    address is another version, and takes no secret over from the one before.
    """

    model: str
    base_url: str
    api_key_secret: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no address, and keys wherever they could hide; no message repeats a value."""
        if not self.model or len(self.model) > LONGEST_NAME or not self.model.isprintable():
            _refuse("source.openai.model", f"must be a name of 1 to {LONGEST_NAME} characters")
        if self.api_key_secret and not SECRET_NAME.fullmatch(self.api_key_secret):
            raise SecretGiven(field="source.openai.api_key_secret")
        _check_address("source.openai.base_url", self.base_url)

    def check_address(self) -> None:
        """Refuse an address that programs read in different ways, or that no model is behind.

        Versions from before keep theirs: inference checks again where it would call.
        """
        try:
            origin = Origin.of(self.base_url)
        except ValueError as error:
            raise InvalidInput.of(Violation(field="source.openai.base_url", description=str(error))) from error
        if never_reachable(origin):
            _refuse("source.openai.base_url", "must not be an address of the network or the cloud itself")

    @property
    def key(self) -> str:
        """The digest of the model's name and the endpoint."""
        return _key("openai", self.model, self.base_url.rstrip("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedSource:
    """A run of ours: an adapter on a base."""

    run: str
    base: str
    """`model@version`."""
    dataset_version: str
    """`dataset@number`."""

    @property
    def key(self) -> str:
        """The digest of the run, which registers one version."""
        return _key("trained", self.run)


Source = FolderSource | HuggingFaceSource | OpenAiSource | TrainedSource
