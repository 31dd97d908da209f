"""The durable executor of a laptop: orchestrations of the real SDK, with their histories in tables."""
