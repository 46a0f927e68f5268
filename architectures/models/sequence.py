"""A whole sequence model: embedding, stack of blocks, norm, head."""

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from typing_extensions import override

from sma import SequenceModule, State, naming, register
from sma.architectures.models.base import ComposedModel, ComposedModelSpec, check_builds
from sma.causality import check_causal
from sma.checks import describe
from sma.modules.norms import Norm
from sma.sequence import without_full_mask, zero_padding
from sma.state import check_parts, check_state

Inputs = Tensor | tuple[Tensor, Tensor]
Mask = Tensor | tuple[Tensor | None, Tensor | None] | None


@dataclass(frozen=True)
class SequenceModelState(State):
    """Decoding state of a model.

    Attributes:
        position: `(B,)` long; the number of elements each row has seen.
        blocks: one state per block.
    """

    position: Tensor
    blocks: tuple[State, ...]


class SequenceModel(ComposedModel):
    """Embedding -> blocks -> norm -> head.

    Args:
        spec: what it was built from; saved with the weights.
        embedding: inputs to `(B, L, D)`.
        blocks: maps of `(B, L, D)`.
        norm: after the last block, or None.
        head: `(B, L, D)` to the result.

    Raises:
        ValueError: if the head predicts each element from those before it (`needs_causal` of the head, or
            else of its spec), and a module inside looks ahead; a call raises it for one that was put there
            later.

    Example:
        >>> from sma.architectures import seqboat
        >>> model = seqboat(vocab_size=256, d_model=32, n_layers=2).build()
        >>> model(torch.zeros(1, 9, dtype=torch.long)).shape
        torch.Size([1, 9, 256])
    """

    spec: "SequenceModelSpec"

    def __init__(
        self,
        spec: "SequenceModelSpec",
        *,
        embedding: nn.Module,
        blocks: list[SequenceModule],
        norm: Norm | None,
        head: nn.Module,
    ) -> None:
        super().__init__(spec, embedding=embedding, blocks=blocks, norm=norm, head=head)
        self._checked: int | None = None
        self._check_causal()

    def _check_causal(self) -> None:
        """Check what was put into the model since the last time."""
        if torch.compiler.is_compiling():
            return
        inside = hash(tuple(map(id, self.modules())))
        if inside != self._checked and getattr(self.head, "needs_causal", self.spec.head.needs_causal):
            check_causal(self)
        self._checked = inside

    @override
    def forward(self, inputs: Inputs, mask: Mask = None) -> Tensor:
        """Embed, mix, score.

        Args:
            inputs: what the embedding takes, such as tokens `(B, L)`; a pair of them for a head that
                classifies pairs of documents.
            mask: `(B, L)` bool, True = a real element; a pair of them for a pair.

        Returns:
            What the head gives: `(B, L, V)` from a language model, `(B, C)` from a classifier.
        """
        self._check_causal()
        with naming(self):
            if isinstance(inputs, tuple):
                masks = mask if isinstance(mask, tuple) else (None, None)
                encoded = tuple(self.encode(*document) for document in zip(inputs, masks, strict=True))
                return self.head(encoded, masks)
            if isinstance(mask, tuple):
                raise ValueError("mask is a pair, but inputs is not; pass one mask (B, L)")
            return self.head(self.encode(inputs, mask), mask)

    def encode(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Everything before the head, `(B, L, D)`; 0 at padding."""
        return self._normalise(self.blocks(self.embedding(inputs, mask), mask), mask)

    def init_state(self, batch_size: int) -> SequenceModelState:
        """The decoding state of `batch_size` rows before their first element.

        Raises:
            NotImplementedError: if a part looks ahead or has no decoding state; the message names it.
        """
        self._check_causal()
        like = next(self.parameters())
        states = (block.init_state(batch_size, device=like.device, dtype=like.dtype) for block in self.blocks)
        position = torch.zeros(batch_size, dtype=torch.long, device=like.device)
        return SequenceModelState(position, tuple(states))

    def prefill(
        self, inputs: Tensor, mask: Tensor | None = None, state: SequenceModelState | None = None
    ) -> tuple[Tensor, SequenceModelState]:
        """Read a prompt, or the next chunk of one.

        Args:
            inputs: `(B, L)` tokens, or what the embedding takes.
            mask: `(B, L)` bool, True = a real element.
            state: to continue from, advanced in place. None: a fresh one.

        Returns:
            The result at every element, as `forward` gives it (where routers do not look ahead, or a causal
            predictor decides in their place), and the state after each row's last element. From a fresh state
            the result has the gradients of `forward`; from one that was given it has none, as they would
            lack what came before.
        """
        track = state is None and torch.is_grad_enabled()
        state = self.init_state(len(inputs)) if state is None else state
        check_state(state, SequenceModelState, len(inputs))
        check_parts(state, state.blocks, len(self.blocks))
        with torch.set_grad_enabled(track), naming(self):
            x = self.embedding(inputs, mask, state.position)
            mask = without_full_mask(mask)
            for block, part in zip(self.blocks, state.blocks, strict=True):
                x = block.step(x, part, mask)
            state.position.add_(x.shape[1] if mask is None else mask.sum(1))
            return self.head(self._normalise(x, mask), mask), state

    def step(self, inputs: Tensor, state: SequenceModelState) -> Tensor:
        """Read one more element per row, advancing `state` in place.

        Args:
            inputs: `(B,)` tokens, or `(B, ...)` as the embedding takes.
            state: as `prefill` or `init_state` returned it.

        Returns:
            `(B, V)`, the result at these elements; without gradients, see `prefill`.

        Raises:
            ValueError: if `inputs` is not a tensor with one element per row, or the state is not of this
                model and of B rows.
        """
        if not isinstance(inputs, Tensor) or not inputs.dim():
            raise ValueError(f"a step takes one element per row, such as (B,) tokens, got {describe(inputs)}")
        check_state(state, SequenceModelState, len(inputs))
        return self.prefill(inputs.unsqueeze(1), None, state)[0].squeeze(1)

    def _normalise(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return zero_padding(x if self.norm is None else self.norm(x, mask), mask)


@register
class SequenceModelSpec(ComposedModelSpec):
    """Builds `SequenceModel`.

    Attributes:
        d_model: D, the width of everything between embedding and head.
        embedding: what reads the inputs.
        blocks: the stack, from input to output.
        norm: after the last block.
        head: what is predicted.
    """

    kind: Literal["sequence_model"] = "sequence_model"

    @model_validator(mode="after")
    def _check_builds(self) -> "SequenceModelSpec":
        check_builds(self)
        return self

    @override
    def build(self) -> SequenceModel:
        """The model, freshly initialised."""
        return SequenceModel(self, **self._parts())
