"""Asks each server and service of a stack whether it does its work, not only whether its port is open."""

import asyncio
import logging
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from pathlib import Path

import grpc
import minio
import pymongo
import urllib3
from aiokafka.errors import KafkaError
from grpc_health.v1 import health_pb2
from pymongo.errors import PyMongoError

from tidemill_core.errors import DependencyUnavailable
from tidemill_kit.events.administration import AdministrationRefused
from tidemill_kit.events.passwords import PasswordFiles
from tidemill_local import topics
from tidemill_local.addresses import Addresses
from tidemill_local.errors import StackError
from tidemill_local.kafka import ADMIN, BROKER

PROBE_TIMEOUT_S = 5.0
PREPARE_TIMEOUT_S = 30.0
"""For Kafka's topics, users and ACLs: a busy machine that ends none of it in time begins anew each time."""
POLL_S = 0.2

Probe = Callable[[], str]
"""Returns an empty text when it is ready, else why it is not."""


def probes(stack: Addresses) -> dict[str, Probe]:
    """Return one probe for each program; Kafka's creates the declared topics as its proof, its users and their ACLs."""
    return {
        "kafka": partial(_kafka, stack),
        "mongo": partial(_mongo, stack.mongo),
        "s3": partial(_object_store, stack),
        **{name: partial(_service, endpoints["grpc"]) for name, endpoints in stack.services.items()},
    }


def watch(asked: Mapping[str, Probe]) -> Generator[tuple[list[str], Mapping[str, str]], None, None]:
    """Ask all of them at the same time, again and again, until each is ready.

    Yields a few times a second: the names that became ready, and why each of the others is not.
    """
    waiting = dict.fromkeys(asked, "it has not answered yet")
    pool = ThreadPoolExecutor(max_workers=max(1, len(asked)))
    try:
        questions = {pool.submit(probe): name for name, probe in asked.items()}
        while waiting:
            done, _ = wait(questions, timeout=POLL_S, return_when=FIRST_COMPLETED)
            answers = {questions.pop(question): question.result() for question in done}
            ready = [name for name, reason in answers.items() if not reason]
            waiting = {name: answers.get(name, reason) for name, reason in waiting.items() if name not in ready}
            questions |= {pool.submit(_ask_later, asked[name]): name for name in answers if name in waiting}
            yield ready, waiting
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # what failed meanwhile is said at once


def _ask_later(probe: Probe) -> str:
    time.sleep(POLL_S)
    return probe()


def _kafka(stack: Addresses) -> str:
    client_log = logging.getLogger("aiokafka")
    before, client_log.level = (
        client_log.level,
        logging.CRITICAL,
    )  # it logs an error at each attempt; the result is returned here
    try:
        asyncio.run(asyncio.wait_for(_prepare_kafka(stack), timeout=PREPARE_TIMEOUT_S))
    except (topics.TopicRefused, AdministrationRefused) as error:
        raise StackError(str(error)) from error
    except DependencyUnavailable as error:
        return error.message
    except (KafkaError, TimeoutError, OSError) as error:
        return f"Kafka does not answer ({type(error).__name__})"
    finally:
        client_log.setLevel(before)
    return ""


async def _prepare_kafka(stack: Addresses) -> None:
    servers = replace(stack.kafka_servers(BROKER), mechanism="PLAIN")
    await topics.create(servers, topics.declared(), copies=1)
    if servers.sasl:
        await topics.grant(servers, PasswordFiles(Path(stack.kafka_passwords)), others=[ADMIN])


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
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            reply = check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError:
            return "it does not answer"
    return "" if reply.status == health_pb2.HealthCheckResponse.SERVING else "its dependencies do not answer yet"
