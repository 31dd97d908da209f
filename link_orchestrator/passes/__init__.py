"""The passes that orchestrations are made of. Each works on a slice of the buckets, and may run again."""
