"""Exits with 0 when the service of this container is ready: its gRPC health says SERVING."""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2

TIMEOUT_S = 4


def main() -> int:
    """Ask once and return the exit code."""
    port = os.environ[f"{os.environ['SERVICE'].upper()}_GRPC_PORT"]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            reply = check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return 1
    return 0 if reply.status == health_pb2.HealthCheckResponse.SERVING else 1


if __name__ == "__main__":
    sys.exit(main())
