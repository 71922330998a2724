"""The embedded stack: Kafka, a MongoDB-protocol server, S3 and Tidemill's services as processes of one machine."""

from tidemill_local.addresses import Addresses, ObjectStoreAddress
from tidemill_local.errors import StackError
from tidemill_local.stack import LocalStack, ProgramStatus, StackStatus

__all__ = ["Addresses", "LocalStack", "ObjectStoreAddress", "ProgramStatus", "StackError", "StackStatus"]
