"""The spec of graph convolutions."""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, model_validator
from typing_extensions import override

from sma import register
from sma.architectures.specs.families import SubModuleSpec
from sma.modules.graph.convolution import GraphConvolution
from sma.modules.graph.named import check_convolution, named_convolution


class GraphArguments(Mapping[str, Any]):
    """A mapping of JSON values that cannot change.

    Raises:
        ValueError: if a value is something else.

    Example:
        >>> arguments = GraphArguments({"heads": 2, "concat": False})
        >>> arguments["heads"], arguments == {"concat": False, "heads": 2}
        (2, True)
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        try:
            self._text = json.dumps(dict(values), sort_keys=True, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"arguments must be JSON values: {error}") from error

    @override
    def __getitem__(self, key: str) -> Any:
        return json.loads(self._text)[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(json.loads(self._text))

    @override
    def __len__(self) -> int:
        return len(json.loads(self._text))

    @override
    def __hash__(self) -> int:
        return hash(self._text)

    @override
    def __repr__(self) -> str:
        return repr(dict(self))


@register
class GraphConvolutionSpec(SubModuleSpec):
    """Builds `GraphConvolution` around a convolution of torch_geometric.

    Attributes:
        name: of a class in `torch_geometric.nn`.
        arguments: of its constructor; widths are filled in.
        edge_inputs: names of tensors in the data that it reads for every edge, such as edge_attr.
        init_scale: where a learned factor of the result starts; None for no factor.
    """

    kind: Literal["graph_convolution"] = "graph_convolution"
    name: str
    arguments: Annotated[
        Mapping[str, Any], AfterValidator(GraphArguments), PlainSerializer(dict, return_type=dict[str, Any])
    ] = Field(default_factory=lambda: GraphArguments({}))
    edge_inputs: tuple[str, ...] = ()
    init_scale: float | None = None

    @model_validator(mode="after")
    def _check_convolution(self) -> "GraphConvolutionSpec":
        check_convolution(self.name, self.arguments, self.edge_inputs)
        return self

    @override
    def build(self, d_model: int) -> GraphConvolution:
        convolution = named_convolution(d_model, self.name, self.arguments, self.edge_inputs)
        return GraphConvolution(convolution, edge_inputs=self.edge_inputs, init_scale=self.init_scale)
