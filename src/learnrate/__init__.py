"""Which learning rate, with which schedule, for how many epochs, and how sure: found by training."""
