"""The command line: what was asked, the problem that is meant, and what is printed."""
