"""What learning curves show, alone and beside each other, and what to do about it."""
