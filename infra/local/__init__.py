"""The same app on a laptop: its host, the demo, the stand-in for Entra, and the benchmark."""
