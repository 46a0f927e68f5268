"""Classifiers of rows and of elements for transformers."""

from typing import Any, ClassVar

from torch import Tensor
from typing_extensions import override

from sma.architectures.models.sequence import SequenceModel
from sma.transformers.models.base import SMAPreTrainedModel
from sma.transformers.models.heads import Scored, scored
from sma.transformers.models.losses import by_problem, cross_entropy, share, with_routers
from transformers.modeling_outputs import SequenceClassifierOutput, TokenClassifierOutput


class _ForClassification(SMAPreTrainedModel):
    """What the classifiers of rows and of elements have in common."""

    _scored: ClassVar[Scored]
    _head_kind: ClassVar[str]
    _output: ClassVar[type]

    @override
    def _check_head(self, model: SequenceModel) -> None:
        found, n_classes = scored(model)
        if found != self._scored:
            raise ValueError(
                f"head.kind={model.spec.head.kind!r} scores {found}, and {type(self).__name__} needs a head "
                f"that scores {self._scored}; load with config.with_head(kind={self._head_kind!r}, "
                "n_classes=...)"
            )
        if self.config.num_labels != n_classes:
            self.config.num_labels = n_classes

    @override
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Scores of the classes, and the loss.

        Args:
            input_ids: `(B, L)` tokens, for an embedding that reads them.
            attention_mask: `(B, L)`, 0 at padding, which may stand anywhere.
            input_values: numbers `(B, L)` or features `(B, L, F)`, for an embedding that reads those.
            labels: classes, `(B,)` of rows or `(B, L)` of elements; -100 is not scored. Of rows also numbers
                for a regression or several labels per row, by `config.problem_type`.
            output_hidden_states: return the outputs of the embedding and of every block.
            return_dict: False returns a tuple.
            num_items_in_batch: how many labels the step scores, over all micro-batches.
            kwargs: refused, unless None or False.
        """
        inputs, mask = self._features(input_ids, input_values, attention_mask, kwargs)
        with self._hidden_states(output_hidden_states) as hidden:
            logits, auxiliary = self._run(self.model, inputs, mask)
        loss = None
        if labels is not None:
            loss = self._loss(logits, labels, num_items_in_batch)
            loss = with_routers(loss, auxiliary, labels, num_items_in_batch)
        output = self._output(loss=loss, logits=logits, hidden_states=tuple(hidden) or None)
        return self._returned(output, return_dict)

    def _loss(self, logits: Tensor, labels: Tensor, n_items: Tensor | int | None) -> Tensor:
        if labels.shape != logits.shape[:-1] or labels.is_floating_point():
            raise ValueError(
                f"labels are {tuple(labels.shape)} {labels.dtype}, but must be integers of shape "
                f"{tuple(logits.shape[:-1])}; -100 is not scored"
            )
        return cross_entropy(logits, labels, n_items)


class SMAForSequenceClassification(_ForClassification):
    """A `SequenceModel` with a head that scores rows, such as `classifier`.

    Args:
        config: holds the spec.
        model: of that spec, whose weights are used; None builds a new one.

    Raises:
        ValueError: if the head scores something else than rows.

    Example:
        >>> import torch
        >>> from sma.architectures import seqboat
        >>> from sma.transformers import SMAConfig
        >>> config = SMAConfig(spec=seqboat(vocab_size=256, d_model=16, n_layers=2, n_classes=3))
        >>> model = SMAForSequenceClassification(config)
        >>> model(torch.zeros(2, 5, dtype=torch.long)).logits.shape
        torch.Size([2, 3])
    """

    _scored = "rows"
    _head_kind = "classifier"
    _output = SequenceClassifierOutput

    @override
    def _loss(self, logits: Tensor, labels: Tensor, n_items: Tensor | int | None) -> Tensor:
        if self.config.problem_type is None:
            one = logits.shape[-1] == 1
            kind = "regression" if one else "multi_label_classification"
            self.config.problem_type = (
                kind if labels.is_floating_point() or one else "single_label_classification"
            )
        if self.config.problem_type == "single_label_classification":
            return super()._loss(logits, labels, n_items)
        return by_problem(self.loss_function, logits, labels, self.config) * share(labels, n_items)


class SMAForTokenClassification(_ForClassification):
    """A `SequenceModel` with a head that scores every element, such as `node_classifier`.

    Args:
        config: holds the spec.
        model: of that spec, whose weights are used; None builds a new one.

    Raises:
        ValueError: if the head scores something else than elements.

    Example:
        >>> import torch
        >>> from sma.architectures import seqboat
        >>> from sma.transformers import SMAConfig
        >>> config = SMAConfig(spec=seqboat(vocab_size=256, d_model=16, n_layers=2))
        >>> model = SMAForTokenClassification(config.with_head(kind="node_classifier", n_classes=3))
        >>> model(torch.zeros(2, 5, dtype=torch.long)).logits.shape
        torch.Size([2, 5, 3])
    """

    _scored = "elements"
    _head_kind = "node_classifier"
    _output = TokenClassifierOutput
