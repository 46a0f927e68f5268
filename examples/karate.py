"""The karate club: 34 members, one of each faction known. Who takes part in a graph convolution?

The model's mixer spreads everybody's features along friendships; a router then decides from the result who
attends to whom. Beside it stand the same model with everybody active, and with nobody.
"""

import torch
from torch_geometric.datasets import KarateClub

import sma
from sma.architectures import graph_network

SEEDS = 5
ROUTERS = {
    "nobody": "never",
    "routed": {"kind": "activation_budget", "router": "latent_configurator", "rate": 0.3, "coefficient": 1.0},
    "everybody": "always",
}
SPREAD = {"kind": "graph_convolution", "name": "APPNP", "arguments": {"K": 5, "alpha": 0.1}}


def train(data, router, seed):
    """The number of right answers about members without a label, and the share of active members."""
    torch.manual_seed(seed)
    model = graph_network(
        d_model=16,
        n_layers=1,
        d_input=data.num_features,
        n_classes=4,
        mixer={"kind": "dense", "module": SPREAD},
        router=router,
        dropout=0.5,
    ).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.05)
    for _ in range(200):
        with sma.record() as recording:
            scores = model(data)[data.train_mask]
        loss = torch.nn.functional.cross_entropy(scores, data.y[data.train_mask])
        loss = loss + sum(recording.losses.values())  # of the router's budget
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad(), sma.record() as recording:
        right = (model(data).argmax(-1) == data.y)[~data.train_mask]
    return int(right.sum()), recording.activation_rates["blocks.0.branches.1"][0]


data = KarateClub()[0]
n_unknown = int((~data.train_mask).sum())
for name, router in ROUTERS.items():
    results = [train(data, router, seed) for seed in range(SEEDS)]
    right, active = (sum(values) / SEEDS for values in zip(*results, strict=True))
    print(f"{name:>9}: {right:.1f} of {n_unknown} right, {active:.0%} active (mean of {SEEDS} seeds)")
