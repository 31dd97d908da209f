"""The passes that an orchestration is made of: each goes over a slice of buckets, and can be repeated."""
