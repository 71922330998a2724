"""Sources of versions, and their content keys."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import NoReturn
from urllib.parse import urlsplit

from tidemill_core.errors import InvalidInput
from tidemill_core.models.manifest import Manifest
from tidemill_core.origins import Origin, never_reachable
from tidemill_trainer.errors import SecretGiven

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,254}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
SECRET_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
LONGEST_NAME = 256


def _key(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _refuse(field: str, description: str) -> NoReturn:
    raise InvalidInput.at(field=field, text=description)


def _check_address(field: str, address: str) -> None:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError as error:
        raise InvalidInput.at(field=field, text="is not a URL") from error
    if not usable:
        _refuse(field, 'must be a URL such as "https://api.openai.com/v1"')
    if parts.username or parts.password or parts.query or parts.fragment:
        _refuse(field, "must not have a user, query or fragment: store keys in a secret")


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
    """A repository of the hub. `commit` is the resolved `revision`, empty until it is resolved."""

    repository: str
    revision: str = "main"
    commit: str = ""

    def __post_init__(self) -> None:
        """Check the names, since they become part of a URL."""
        if not REPOSITORY.fullmatch(self.repository) or ".." in self.repository:
            _refuse("source.hugging_face.repository", 'must be "owner/name" or "name" as on the hub')
        if not REVISION.fullmatch(self.revision) or ".." in self.revision:
            _refuse("source.hugging_face.revision", "must be a branch, a tag or a commit")
        if COMMIT.fullmatch(self.revision):
            object.__setattr__(self, "commit", self.revision)  # frozen; a full commit needs no resolution

    @property
    def key(self) -> str:
        """Digest of repository and commit, or of the revision while the commit is unknown."""
        return _key("hugging_face", self.repository, self.commit or self.revision)

    @property
    def alias(self) -> str:
        """Key by the named revision, since a branch may move."""
        return _key("hugging_face", self.repository, self.revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAiSource:
    """A model behind an OpenAI-compatible endpoint; the API key is given as a secret's name only.

    The secret is not part of the content key: another secret for the same address is the same version. Another address
    is another version and does not inherit the secret.
    """

    model: str
    base_url: str
    api_key_secret: str = ""

    def __post_init__(self) -> None:
        """Check the address, and reject API keys in any field; errors do not repeat values."""
        if not self.model or len(self.model) > LONGEST_NAME or not self.model.isprintable():
            _refuse("source.openai.model", f"must be a name of 1 to {LONGEST_NAME} characters")
        if self.api_key_secret and not SECRET_NAME.fullmatch(self.api_key_secret):
            raise SecretGiven(field="source.openai.api_key_secret")
        _check_address("source.openai.base_url", self.base_url)

    def check_address(self) -> None:
        """Reject addresses that parsers read differently, and internal ones.

        Stored versions are not checked again here; inference checks before each call.
        """
        try:
            origin = Origin.of(self.base_url)
        except ValueError as error:
            raise InvalidInput.at(field="source.openai.base_url", text=str(error)) from error
        if never_reachable(origin):
            _refuse("source.openai.base_url", "must not be a link-local or cloud metadata address")

    @property
    def key(self) -> str:
        """Digest of the model's name and the endpoint."""
        return _key("openai", self.model, self.base_url.rstrip("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedSource:
    """A training run: an adapter on a base, or full weights."""

    run: str
    base: str
    """`model@version` that an adapter belongs to, "" of full weights."""
    dataset_version: str
    """`dataset@number`."""
    finetuned_from: str = ""
    """`model@version` whose weights full weights began with, "" of an adapter."""

    @property
    def key(self) -> str:
        """Digest of the run, which registers one version."""
        return _key("trained", self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedSource:
    """A derivation: full weights made of another version, without training."""

    derivation: str
    source_version: str
    """`model@version`."""
    method: str
    """The method with its settings."""
    dataset_version: str = ""
    """What the source version was trained on; "" for an imported one."""

    @property
    def key(self) -> str:
        """Digest of source version and method: what is made twice of the same is one version."""
        return _key("derived", self.source_version, self.method)


Source = FolderSource | HuggingFaceSource | OpenAiSource | TrainedSource | DerivedSource
