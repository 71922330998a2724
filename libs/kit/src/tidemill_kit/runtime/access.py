"""Settings of who may call: which issuers' tokens are taken, and the service's own."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings

from tidemill_core.application import MAX_LEEWAY
from tidemill_kit.runtime.separated import Separated

_SCHEMES = ("https://", "http://", "file:/")


class AccessSettings(BaseSettings):
    """Read under the service's prefix, as all its settings."""

    access_issuers: Separated = Field((), validate_default=True)
    """Whose tokens are taken, separated by commas: `ISSUER` (OpenID discovery), `ISSUER=URL` or `ISSUER=file:/PATH` of
    its JWK set. The first is Tidemill's own, which alone names services and admins of the installation."""
    access_audience: str = Field("tidemill", min_length=1)
    """What a token's audience must contain."""
    access_leeway_s: float = Field(30.0, ge=0, le=MAX_LEEWAY.total_seconds())
    """How far clocks may differ."""
    access_max_lifetime_s: float = Field(86400.0, ge=60)
    """The longest lifetime of tokens of all issuers but the first; monitor keeps revocations of people as long."""
    access_keys_max_age_s: float = Field(300.0, gt=0)
    """How often the issuers' keys are read again."""
    access_keys_hold_s: float = Field(86400.0, gt=0)
    """How long keys count while their issuer does not answer; after that, calls get UNAVAILABLE. Longer than
    ACCESS_KEYS_MAX_AGE_S."""
    access_keys_folder: Path | None = None
    """A folder of this process's own, where the last keys of each issuer are kept, so that a restart while an issuer is
    down does not end the hold time. Not needed for issuers whose keys are a file."""
    access_revocations_hold_s: float = Field(86400.0, ge=60)
    """How long the revocations that are known count while Kafka does not answer; after that, calls get UNAVAILABLE."""
    access_monitor_address: str = ""
    """`host:port` of monitor's gRPC API, to report once a minute when API keys were last used. Empty:
    that is not reported."""
    access_max_failures_per_minute: int = Field(6000, ge=0)
    """Bad credentials from one address by the minute; beyond it none from there is verified anew. 0 is no limit."""
    access_credential_file: Path | None = None
    """A file with this service's own token, for its calls of other services; read again when it changes."""

    @field_validator("access_issuers")
    @classmethod
    def _read(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            message = "name the issuers whose credentials are taken: without them, no call could be answered"
            raise ValueError(message)
        names = [issuer_of(each)[0] for each in value]
        if len(set(names)) < len(names):
            message = "an issuer is named twice"
            raise ValueError(message)
        for each in value:
            issuer, keys = issuer_of(each)
            if not issuer or not (keys or issuer).startswith(_SCHEMES) or (not keys and issuer.startswith("file:")):
                message = "write ISSUER, ISSUER=https://... or ISSUER=file:/... for each issuer"
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _held_until_read_again(self) -> Self:
        """Refuse keys that would stop to count before they are read again, while their issuer answers."""
        if self.access_keys_hold_s <= self.access_keys_max_age_s:
            message = (
                f"ACCESS_KEYS_HOLD_S is {self.access_keys_hold_s:g}: set it to more than ACCESS_KEYS_MAX_AGE_S, "
                f"which is {self.access_keys_max_age_s:g}"
            )
            raise ValueError(message)
        return self


def issuer_of(setting: str) -> tuple[str, str]:
    """Return an issuer, and where its keys are, "" where discovery says that."""
    issuer, _, keys = setting.partition("=")
    return issuer, keys
