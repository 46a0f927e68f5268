"""The decoding state of a model as a cache of transformers."""

from typing import Any, NoReturn

import torch
from torch import Tensor
from typing_extensions import override

from sma.architectures.models.sequence import SequenceModel, SequenceModelState
from transformers import Cache


class StateCache(Cache):
    """What `generate` carries from step to step: the model's state, of constant size for any length.

    Rows are reordered for beam search by `State.select`. A state cannot go back, so nothing can be cropped.

    Attributes:
        state: of `SequenceModel`; None before the first element.
        length: how many elements each row has seen, padding included.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=256, d_model=16, n_layers=2).build().eval()
        >>> cache = StateCache()
        >>> cache.advance(model, torch.zeros(2, 5, dtype=torch.long), None).shape
        torch.Size([2, 5, 256])
        >>> cache.get_seq_length()
        5
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.state: SequenceModelState | None = None
        self.length = 0

    def advance(self, model: SequenceModel, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """The scores `(B, L, V)` of the next elements of every row.

        Raises:
            ValueError: if the model has a part without decoding, or the cache is of another batch or model.
        """
        try:
            scores, self.state = model.prefill(inputs, mask, self.state)
        except NotImplementedError as error:
            raise ValueError(f"use_cache=True: {error}; or set use_cache=False") from error
        self.length += inputs.shape[1]
        return scores

    @override
    def __len__(self) -> int:
        return 0 if self.state is None else len(self.state.blocks)

    @override
    def __repr__(self) -> str:
        return f"StateCache(length={self.length}, state={self.state!r})"

    @override
    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many elements each row has seen, padding included."""
        return self.length

    @override
    def get_max_length(self, layer_idx: int | None = None) -> int:
        """-1: there is no limit."""
        return -1

    @override
    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Length and offset of a mask over all elements so far and the next ones."""
        return self.length + query_length, 0

    @property
    @override
    def batch_size(self) -> int:
        """The number of rows; -1 before the first element."""
        return -1 if self.state is None else len(self.state.position)

    @property
    @override
    def is_croppable(self) -> bool:
        """False: a state cannot go back."""
        return False

    @override
    def reset(self) -> None:
        """Forget everything."""
        self.state, self.length = None, 0

    @override
    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Continue with these rows, in this order."""
        self.batch_select_indices(beam_idx)

    @override
    def batch_select_indices(self, indices: Tensor) -> None:
        """Continue with these rows, in this order."""
        if self.state is not None:
            self.state = self.state.select(indices.to(self.state.position.device))

    @override
    def batch_repeat_interleave(self, repeats: int) -> None:
        """Continue with every row `repeats` times."""
        self.batch_select_indices(torch.arange(max(self.batch_size, 0)).repeat_interleave(repeats))

    @override
    def crop(self, tokens_to_remove: int) -> None:
        """Refused: a state cannot go back.

        Raises:
            ValueError: if there is something to remove.
        """
        if tokens_to_remove:
            raise ValueError(
                f"tokens_to_remove={tokens_to_remove}: the state of a recurrent model cannot go back; keep a "
                "copy.deepcopy of the cache from before, or read the text anew"
            )

    @override
    def update(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused: there are no keys and values that a layer of transformers could update."""
        raise ValueError("a StateCache is advanced by its model as a whole; pass it as past_key_values")
