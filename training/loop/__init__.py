"""The parts of the training loop: micro-batches, the gradient of a step, and the lines of metrics.jsonl."""
