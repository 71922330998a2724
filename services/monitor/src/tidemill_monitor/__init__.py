"""The monitor: it hears every topic, and tells where everything came from."""
