"""What an administrator asks for over HTTP: one module for each kind of thing that is asked about."""
