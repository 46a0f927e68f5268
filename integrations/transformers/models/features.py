"""`SMAModel`: a model without its head, for transformers."""

from typing import Any

from torch import Tensor
from typing_extensions import override

from sma.transformers.models.base import SMAPreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class SMAModel(SMAPreTrainedModel):
    """The features that a `SequenceModel` gives its head.

    Args:
        config: holds the spec.
        model: of that spec, whose weights are used; None builds a new one.

    Example:
        >>> import torch
        >>> from sma.architectures import seqboat
        >>> from sma.transformers import SMAConfig
        >>> model = SMAModel(SMAConfig(spec=seqboat(vocab_size=256, d_model=16, n_layers=2)))
        >>> model(torch.zeros(2, 5, dtype=torch.long)).last_hidden_state.shape
        torch.Size([2, 5, 16])
    """

    @override
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """Features `(B, L, D)`, 0 at padding.

        Args:
            input_ids: `(B, L)` tokens, for an embedding that reads them.
            attention_mask: `(B, L)`, 0 at padding, which may stand anywhere.
            input_values: numbers `(B, L)` or features `(B, L, F)`, for an embedding that reads those.
            output_hidden_states: return the outputs of the embedding and of every block.
            return_dict: False returns a tuple.
            kwargs: refused, unless None or False.
        """
        inputs, mask = self._features(input_ids, input_values, attention_mask, kwargs)
        with self._hidden_states(output_hidden_states) as hidden:
            features, _ = self._run(self.model.encode, inputs, mask)
        output = BaseModelOutput(last_hidden_state=features, hidden_states=tuple(hidden) or None)
        return self._returned(output, return_dict)
