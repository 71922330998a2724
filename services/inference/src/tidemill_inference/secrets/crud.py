"""Secrets: set one, delete one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tidemill_core.application import Caller
from tidemill_core.envelope import Envelope, Seals
from tidemill_core.resources import Write, check_etag, check_labels, create, delete
from tidemill_inference.secrets.domain.errors import SecretsNotKept
from tidemill_inference.secrets.domain.secret import HostRules, Secret, check_secret, checked_hosts
from tidemill_inference.secrets.ports import Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretCrud:
    """`seals` is None where the operator has configured no key: then no secret can be set."""

    secrets: Secrets
    seals: Seals | None
    rules: HostRules
    setting: str
    """What operators allow hosts by."""

    def fingerprint(self, value: str) -> str:
        """Return what stands for a value where requests are compared.

        Raises:
            SecretsNotKept: there is no key.

        """
        return self._seals().fingerprint(value.encode())

    async def set(  # noqa: PLR0913 - what a secret is
        self, caller: Caller, name: str, value: str, *, hosts: Sequence[str], labels: Mapping[str, str], write: Write
    ) -> Secret:
        """Return a secret with a value, new or again.

        Raises:
            InvalidInput: name, value, a label or a host cannot be one, or the operator does not allow the host.
            SecretsNotKept: there is no key to encrypt it.
            Conflict: it has changed since the etag.

        """
        seals = self._seals()
        check_secret(name, value)
        check_labels("secret.labels", labels)
        origins = checked_hosts(hosts, self.rules, setting=self.setting)

        @cache  # a change may be decided again, and is then the same one
        def seal(*belongs: str) -> Envelope:
            return seals.seal(value.encode(), *belongs)

        def change(secret: Secret) -> None:
            if secret.version:
                check_etag(write.etag, secret.version)
            secret.set(origins, dict(labels), seal)

        return await create(self.secrets, Secret(id=name, project=caller.project), write, begin=change)

    async def delete(self, caller: Caller, name: str, write: Write) -> Secret:
        """Return the secret as it was, without its value, of which nothing stays.

        Raises:
            SecretNotFound: the project has no such secret.
            Conflict: it has changed since the etag.

        """
        return await delete(self.secrets, caller.project, name, write, change=Secret.forget)

    def _seals(self) -> Seals:
        if self.seals is None:
            raise SecretsNotKept
        return self.seals
