"""The files that people bring: rows out of CSV and JSON, and what each kind of file makes of them."""
