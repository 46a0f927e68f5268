"""Presets of graph models: functions that return specs."""

from sma import OneOf
from sma.architectures.blocks.residual import ResidualSpec
from sma.architectures.models.embeddings import FeaturesSpec
from sma.architectures.models.graph import GraphModelSpec, NodeClassifierSpec
from sma.architectures.models.heads import ClassifierSpec
from sma.architectures.presets.preset import Layers
from sma.architectures.specs.families import EmbeddingSpec, LayerSpec, RouterSpec, SubModuleSpec
from sma.architectures.specs.feed_forward import LinearSpec
from sma.architectures.specs.fields import Dropout, Size
from sma.architectures.specs.graph import GraphConvolutionSpec
from sma.architectures.specs.norms import LayerNormSpec
from sma.architectures.specs.routers import LatentConfiguratorSpec
from sma.architectures.specs.sma import SMASpec

ROUTER = LatentConfiguratorSpec()


def graph_network(
    *,
    d_model: Size,
    n_layers: Layers,
    n_classes: Size,
    d_input: Size | None = None,
    embedding: OneOf[EmbeddingSpec] | None = None,
    convolution: OneOf[SubModuleSpec] | None = None,
    router: OneOf[RouterSpec] = ROUTER,
    mixer: OneOf[LayerSpec] | None = None,
    dropout: Dropout = 0.0,
    pool: bool = False,
) -> GraphModelSpec:
    r"""Residual layers in which every node decides whether it takes part in a graph convolution.

    $$ h = \text{norm}(x), \qquad y = \text{SiLU}(x + \text{Linear}(h) + \text{SMA}(h; \text{convolution})) $$

    Args:
        d_model: D.
        n_layers: depth.
        n_classes: what is scored.
        d_input: width of `data.x`, where it holds features.
        embedding: what reads `data.x`, where that is not enough.
        convolution: a sub-module; by default `GATv2Conv` with 4 heads, scaled by 0.1 at first.
        router: a router for one sub-module; "always" for the same model without routing.
        mixer: a layer before both branches, with SiLU, such as a cheap convolution over all nodes.
        dropout: on the embedding and on the sum of the branches.
        pool: score whole graphs instead of nodes.

    Returns:
        A spec; `.build()` makes the model.

    Raises:
        ValueError: unless exactly one of `d_input` and `embedding` is given.

    Example:
        >>> graph_network(d_model=16, n_layers=2, d_input=3, n_classes=5).blocks[0].branches[1].kind
        'sma'
    """
    if (d_input is None) == (embedding is None):
        raise ValueError(f"give either d_input or embedding, got d_input={d_input} and {embedding=}")
    if embedding is None:
        embedding = FeaturesSpec(d_input=d_input, dropout=dropout)
    if convolution is None:
        convolution = GraphConvolutionSpec(name="GATv2Conv", arguments={"heads": 4}, init_scale=0.1)
    block = ResidualSpec(
        repeat=n_layers,
        mixer=mixer,
        branches=(LinearSpec(), SMASpec(router=router, modules=(convolution,))),
        dropout=dropout,
    )
    head = ClassifierSpec(n_classes=n_classes) if pool else NodeClassifierSpec(n_classes=n_classes)
    return GraphModelSpec(
        d_model=d_model, embedding=embedding, blocks=(block,), norm=LayerNormSpec(), head=head
    )
