"""What all functions stand on: the SCIM engine, the account directory, the tables, and the Azure shell."""
