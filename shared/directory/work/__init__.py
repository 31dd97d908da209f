"""What the directory keeps of jobs: their state, plans, reviews, and what one pass stages for the next."""
