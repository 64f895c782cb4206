"""The logs of other tools, a kind in each module, and what they call their metrics."""
