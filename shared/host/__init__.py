"""The Azure shell: settings, authentication, the one error table, and the functions that belong to no room."""
