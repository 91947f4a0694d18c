"""Models: where they come from, what they were trained to see, and what is asked of them."""
