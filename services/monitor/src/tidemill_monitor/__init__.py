"""The monitor: it receives every topic, and says where everything came from."""
