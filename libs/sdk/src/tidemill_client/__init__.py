"""The Python SDK of Tidemill."""

from tidemill_client.connection import Addresses
from tidemill_client.documents import NewDocument, Uploaded
from tidemill_client.reactions import Rater
from tidemill_client.tidemill import GenerateOptions, Tidemill
from tidemill_client.values import assistant, text_of, user

__all__ = [
    "Addresses",
    "GenerateOptions",
    "NewDocument",
    "Rater",
    "Tidemill",
    "Uploaded",
    "assistant",
    "text_of",
    "user",
]
