"""What the directory keeps of work under way: jobs, plans, reviews, and what is staged for them."""
