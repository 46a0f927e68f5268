"""torch_geometric's GNNExplainer beside a router: does a mask that is learned afterwards find the same nodes?

The model of examples/karate.py learns to classify the members of the karate club, and to let few of them
attend to others. Then GNNExplainer learns a mask over the nodes without which its answers would change.
"""

import torch
from torch_geometric.datasets import KarateClub
from torch_geometric.explain import Explainer, GNNExplainer

import sma
from sma.architectures import graph_network

SEEDS = 3
ROUTER = {"kind": "activation_budget", "router": "latent_configurator", "rate": 0.3, "coefficient": 1.0}
TASK = {"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"}


def train(data, seed):
    """A model, trained on the four members whose faction is known."""
    torch.manual_seed(seed)
    model = graph_network(
        d_model=16,
        n_layers=1,
        d_input=data.num_features,
        n_classes=4,
        mixer={
            "kind": "dense",
            "module": {"kind": "graph_convolution", "name": "APPNP", "arguments": {"K": 5, "alpha": 0.1}},
        },
        router=ROUTER,
        dropout=0.5,
    ).build()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.05)
    for _ in range(200):
        with sma.record() as recording:
            scores = model(data)[data.train_mask]
        loss = torch.nn.functional.cross_entropy(scores, data.y[data.train_mask])
        loss = loss + sum(recording.losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def auc(mask, active):
    """The probability that an active node has a higher value than one that is not."""
    above = mask[active][:, None] - mask[~active]
    return float((above > 0).double().mean() + (above == 0).double().mean() / 2)


data = KarateClub()[0]
for seed in range(SEEDS):
    model = train(data, seed)
    with torch.no_grad(), sma.record() as recording:
        model(data)
    active = recording.layers[0].routing.active[0, :, 0]
    explainer = Explainer(
        model,
        GNNExplainer(epochs=100),
        explanation_type="model",
        model_config=TASK,
        node_mask_type="object",
    )
    mask = explainer(data.x, data.edge_index).node_mask[:, 0]
    inside, outside = float(mask[active].mean()), float(mask[~active].mean())
    print(
        f"seed {seed}: {int(active.sum())} of {len(active)} nodes active; the mask is {inside:.2f} there,",
        end=" ",
    )
    print(f"{outside:.2f} elsewhere; higher at an active node than at another with probability", end=" ")
    print(f"{auc(mask, active):.2f}")
