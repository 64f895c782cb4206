"""One module a framework; each loads it when it is itself imported."""
