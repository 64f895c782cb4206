"""What the report says: its sentences, tables and lines to paste, a page for each kind of result."""
