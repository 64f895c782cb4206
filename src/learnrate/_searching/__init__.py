"""What a search chooses from, what it tries next, and who goes on."""
