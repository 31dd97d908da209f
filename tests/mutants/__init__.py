"""Faults that are planted one at a time in what keeps people safe, and the tests that must go red: `make mutants`."""
