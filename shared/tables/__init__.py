"""Storage: the port, its two adapters for SQLite and for Azure Table Storage, and how code reads through it."""
