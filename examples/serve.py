"""Serve requests that arrive while others are answered: one running batch, which they join and leave."""

import random

import torch

from sma.architectures import seqboat
from sma.decoding import Batch, Sampling

torch.manual_seed(0)
model = seqboat(vocab_size=256, d_model=64, n_layers=2, window=16).build().eval()
model.double()  # or rounding, which depends on the number of rows, could once in a while change a choice
batch = Batch(model, max_rows=4, chunk=32)

numbers = random.Random(0)
arriving = [(numbers.randrange(30), numbers.randbytes(numbers.randrange(1, 80))) for _ in range(12)]
arrived, finished = {}, []
for step in range(1000):
    for time, prompt in arriving:
        if time == step:
            settings = Sampling(n_tokens=numbers.randrange(1, 20), temperature=0.8, top_k=20, seed=step)
            arrived[batch.add(prompt, settings)] = step
    for stream, _ in batch.step():  # at most a token for each stream
        if stream.ending is not None:
            finished.append(stream)
            print(
                f"arrived at step {arrived[stream]:2}, a prompt of {len(stream.prompt):2} tokens: "
                f"{len(stream.tokens):2} more by step {step:2} ({stream.ending})"
            )
    if len(finished) == len(arriving):
        break

# Each stream has the tokens that it gets alone.
for stream in finished:
    single = Batch(model, max_rows=1)
    alone = single.add(stream.prompt, stream.settings)
    list(single)  # to its end
    assert alone.tokens == stream.tokens
