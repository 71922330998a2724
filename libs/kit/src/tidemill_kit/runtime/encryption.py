"""Settings of the keys by which secrets are encrypted at rest."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import BaseSettings


class EncryptionSettings(BaseSettings):
    """For a service that keeps secrets: mixed into its settings, and read under its prefix."""

    secrets_key_file: Annotated[Path | None, BeforeValidator(lambda given: given or None)] = None
    """A file, which the service's user alone may read, with the keys that secrets are encrypted by.

    A line each: the base64 of 32 random bytes. The first one encrypts, all decrypt.
    """
    secrets_keys: SecretStr = SecretStr("")
    """The same keys, separated by blanks, where there is no file."""
