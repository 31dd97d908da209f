"""Azurite's process ends with its context."""

from __future__ import annotations

import re
import socket

import pytest

from infra.local import azurite


def test_azurite_is_gone_when_its_context_ends() -> None:
    with azurite.start() as connection_string:
        port = re.search(r":(\d+)/", connection_string)
        assert port
        socket.create_connection(("127.0.0.1", int(port[1])), timeout=5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port[1])), timeout=5)
