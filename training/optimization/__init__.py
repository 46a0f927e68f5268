"""How a step changes weights: optimizers and schedules."""
