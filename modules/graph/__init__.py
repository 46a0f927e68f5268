"""Graphs: convolutions over the edges between activated elements, and graphs as rows of nodes."""

from sma.modules.graph.batch import NodeRows
from sma.modules.graph.convolution import GraphConvolution
from sma.modules.graph.named import check_convolution, named_convolution

__all__ = ["GraphConvolution", "NodeRows", "check_convolution", "named_convolution"]
