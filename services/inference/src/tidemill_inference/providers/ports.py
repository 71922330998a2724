"""What is needed to know remote models by their answers."""

from tidemill_core.application import Aggregates
from tidemill_inference.providers.domain.remote_model import RemoteModelRecord

RemoteModels = Aggregates[RemoteModelRecord]
