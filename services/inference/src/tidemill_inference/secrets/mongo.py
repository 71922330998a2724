"""Secrets as documents."""

from tidemill_inference.secrets.domain.secret import Secret
from tidemill_kit.mapping import DocumentCodec

SECRETS = DocumentCodec(Secret)
