"""Tasks: data, its splits, metric, baselines and section of the report."""
