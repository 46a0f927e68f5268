"""Training in several processes: how they share out a model, its data and its evaluation."""
