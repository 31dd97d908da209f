"""What the directory keeps of people and groups: their rows, and the rows that lead to them."""
