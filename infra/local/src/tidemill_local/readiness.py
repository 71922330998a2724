"""Asks each server and service of a stack whether it does its work, not only whether its port is open."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

import grpc
import minio
import pymongo
import urllib3
from aiokafka.errors import KafkaError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pymongo.errors import PyMongoError

from tidemill_local import topics
from tidemill_local.addresses import Addresses

PROBE_TIMEOUT_S = 5.0

Probe = Callable[[], str]
"""Returns an empty text when it is ready, else why it is not."""


def probes(stack: Addresses) -> dict[str, Probe]:
    """Return one probe for each program; Kafka's creates the declared topics as its proof."""
    return {
        "kafka": partial(_kafka, stack.kafka),
        "mongo": partial(_mongo, stack.mongo),
        "s3": partial(_object_store, stack),
        **{name: partial(_service, doors["grpc"]) for name, doors in stack.services.items()},
    }


def _kafka(bootstrap: str) -> str:
    client_log = logging.getLogger("aiokafka")
    before, client_log.level = client_log.level, logging.CRITICAL  # it shouts at each attempt; the result is told here
    try:
        asyncio.run(asyncio.wait_for(topics.create(bootstrap, topics.declared(), copies=1), timeout=PROBE_TIMEOUT_S))
    except (KafkaError, TimeoutError, OSError) as error:
        return f"Kafka does not answer ({type(error).__name__})"
    finally:
        client_log.setLevel(before)
    return ""


def _mongo(uri: str) -> str:
    client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(
        uri, serverSelectionTimeoutMS=1000, timeoutMS=int(PROBE_TIMEOUT_S * 1000)
    )
    with client:
        try:
            client.admin.command("ping")
        except PyMongoError as error:
            return f"the MongoDB server does not answer ({type(error).__name__})"
    return ""


def _object_store(stack: Addresses) -> str:
    pool = urllib3.PoolManager(timeout=PROBE_TIMEOUT_S, retries=False)
    client = minio.Minio(
        stack.s3.endpoint,
        access_key=stack.s3.access_key,
        secret_key=stack.s3.secret_key,
        secure=False,
        http_client=pool,
    )
    try:
        client.list_buckets()
    except (minio.error.MinioException, urllib3.exceptions.HTTPError, ValueError) as error:
        return f"the S3 server does not answer ({type(error).__name__})"
    return ""


def _service(address: str) -> str:
    with grpc.insecure_channel(address) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError as error:
            return f"it does not answer ({type(error).__name__})"
    return "" if reply.status == health_pb2.HealthCheckResponse.SERVING else "its dependencies do not answer yet"
