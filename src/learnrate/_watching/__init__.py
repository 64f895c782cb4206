"""What is known and shown while a verb is at work."""
