"""Entry points: gRPC services, Kafka consumers and background workers."""
