"""Events through Kafka: consumers, outbox relay, retries, dead letters."""
