"""Which learning rates `range_test` and `select` try, and what they conclude from them."""
