"""Which files a model consists of, and what may be in them."""
