"""Where the app runs: local/ is the same app on a laptop."""
