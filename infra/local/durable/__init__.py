"""Durable orchestrations on a laptop: the real SDK replays them, and their histories are rows of a table.

executor.py runs all instances, instance.py one; history.py says what its events mean; store.py keeps them; wire.py is
how the SDK is spoken to; management.py is what the SDK's client calls. Here is what the app's orchestrators use:
activities with and without retry, timers, external events, task_all and task_any, custom status. Anything more is
refused by name.
"""
