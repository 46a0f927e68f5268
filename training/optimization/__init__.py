"""How a step changes weights: optimizers, parameter groups, schedules, precision, averages."""
