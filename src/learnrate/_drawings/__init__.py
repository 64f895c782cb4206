"""What results look like: Vega-Lite descriptions, which `charts` and the report show."""
