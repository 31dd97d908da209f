"""What the first provisioning cycle will do about everybody, under the attribute mapping. Pure."""
