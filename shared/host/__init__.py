"""The edge: settings, authentication, HTTP in and out, and the one table of errors."""
