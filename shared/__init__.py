"""What all rooms use: the SCIM engine, the account directory, the tables, and the Azure shell."""
