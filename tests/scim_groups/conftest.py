"""The app behind a real socket, as the users' tests have it."""

from tests.scim_users.conftest import server as server
from tests.scim_users.conftest import writes as writes
