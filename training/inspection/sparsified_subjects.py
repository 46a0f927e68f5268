"""Pretrained models that `sma sparsify` made sparse as subjects of an inspection."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import sma
from sma.routing import Routing
from sma.training.inspection.reader import CROSS_ENTROPY, Column, Loss, Reader
from sma.training.inspection.subject import Subject
from sma.training.run.errors import cause
from sma.training.sparsification.sparsified_folder import Origin, load_sparsified, read_origin
from sma.training.sparsification.sparsify_run import load_dense
from sma.training.sparsification.token_pieces import TOKEN_CLASSES, token_classes, token_pieces
from sma.training.sparsification.token_texts import TokenTexts, read_token_texts
from sma.training.tasks.task import IGNORED, Batch
from sma.transformers.sparsification.open_router import Saturating
from sma.transformers.sparsification.probe import is_causal
from sma.transformers.sparsification.routed_layer import routed_parts

MADE_ACTIVE = "A token that is made active counts in full, however sure the router is of the opposite."
LEFT_OUT = (
    "Left out: activation over training, which a distillation does not log; attention spans, as attention "
    "has no window of active tokens here; and known needs, which a text does not have."
)


def distance(states: Tensor, wanted: Tensor) -> Tensor:
    r"""How far the last hidden states of tokens are from those of the dense model.

    $$ 100 \, \lVert h - h' \rVert^2 / \lVert h' \rVert^2 $$

    Args:
        states: `(B, L, D)`.
        wanted: the same of the dense model.

    Returns:
        `(B, L)`.
    """
    return 100 * (states - wanted).square().sum(-1) / wanted.square().sum(-1).clamp(min=1e-12)


NEXT_TOKEN = Loss(CROSS_ENTROPY.of, "bits", "of a token, the cross-entropy of the next one, in bits")
DISTANCE = Loss(
    distance,
    "hundredths",
    "of a token, the squared distance of its last hidden state from the dense model's, in hundredths of the "
    "latter's square",
    place="at",
)


def sparsified_subjects(paths: Sequence[Path]) -> list[Subject]:
    """The models of folders that `sma sparsify` wrote, with the rows that it held out.

    The loss of a token is that of the next one, where a model predicts it; else the distance of its last
    hidden state from the dense model's, which is loaded again.

    Args:
        paths: the folders, one at least.

    Raises:
        ValueError: if folders differ in more than their seed, or the dense model or the data cannot be read
            or have changed.
        RunError: if a report is damaged.
    """
    origins = [read_origin(path) for path in paths]
    for path, other in zip(paths[1:], origins[1:], strict=True):
        _check_alike(paths[0], origins[0], path, other)
    loaded = [load_sparsified(path) for path in paths]
    model, tokenizer = loaded[0]
    predicts = is_causal(model) and model.get_output_embeddings() is not None
    texts = _read_texts(paths[0], origins[0], tokenizer, causal=is_causal(model))
    rows = _Rows(texts, tokenizer, None if predicts else _dense(origins[0]))
    return [
        Subject(
            path,
            Reader(each, _predictions, NEXT_TOKEN, _columns, _confidences)
            if predicts
            else Reader(each, _last_states, DISTANCE, _columns, _confidences),
            title=f"held-out rows of {', '.join(map(str, origins[0].data))}",
            split="test",
            unit="token",
            n_rows=len(texts.held_out),
            pick=rows.pick,
            element_texts=lambda row: token_pieces(tokenizer, row.tolist()),
            role_names=TOKEN_CLASSES,
            made_active=MADE_ACTIVE,
            left_out=LEFT_OUT,
        )
        for path, (each, _) in zip(paths, loaded, strict=True)
    ]


@dataclass(frozen=True)
class _Rows:
    """Held-out rows, each as a batch.

    Attributes:
        texts: holds them.
        tokenizer: says what tokens are.
        dense: whose last hidden states `(1, L, D)` are the targets; None: the next tokens are.
    """

    texts: TokenTexts
    tokenizer: Any
    dense: Any

    def pick(self, chosen: Sequence[int]) -> list[Batch]:
        """Some rows, in the order of their numbers."""
        return [self._batch(self.texts.held_out[number]) for number in sorted(set(chosen))]

    def _batch(self, row: list[int]) -> Batch:
        roles = token_classes(self.tokenizer, row, token_pieces(self.tokenizer, row))
        tokens = torch.tensor([row])
        return Batch(tokens, self._wanted(tokens), roles=torch.tensor([roles]))

    @torch.no_grad()
    def _wanted(self, tokens: Tensor) -> Tensor:
        if self.dense is None:
            return torch.cat((tokens[:, 1:], torch.full_like(tokens[:, :1], IGNORED)), 1)
        return _last_states(self.dense, Batch(tokens, tokens))


def _predictions(model: nn.Module, batch: Batch) -> Tensor:
    logits: Tensor = model(input_ids=batch.inputs, use_cache=False).logits
    return logits


def _last_states(model: nn.Module, batch: Batch) -> Tensor:
    states: Tensor = model(input_ids=batch.inputs, output_hidden_states=True).hidden_states[-1]
    return states


@contextmanager
def _confidences(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside, those of the routers whose decisions count in full, whatever their confidence."""
    found: dict[str, Tensor] = {}

    def keep(router: nn.Module, args: Any, routing: Routing, name: str) -> None:
        found[name] = routing.confidence

    with ExitStack() as stack:
        for name, part in routed_parts(model).items():
            for module in part.router.modules():  # type: ignore[union-attr]
                if isinstance(module, Saturating):
                    hook = module.router.register_forward_hook(partial(keep, name=name))
                    stack.callback(hook.remove)
        yield found


def _columns(recording: sma.Recording) -> tuple[Column, ...]:
    """The routed parts by their names, as the report has them."""
    return tuple(Column(call.name, 0, call.name) for call in recording.layers)


def _dense(origin: Origin) -> Any:
    try:
        return load_dense(origin.model)[0].float()
    except ValueError as error:
        raise ValueError(
            f"the loss is the distance from the dense model {origin.model}, which cannot be loaded "
            f"({cause(error)}); put it there, or run this where sma sparsify ran"
        ) from error


def _read_texts(path: Path, origin: Origin, tokenizer: Any, *, causal: bool) -> TokenTexts:
    missing = [str(file) for file in origin.data if not file.is_file()]
    if missing:
        raise ValueError(
            f"{path} was distilled on {', '.join(missing)}, which is not there; put it there, or run this "
            "where sma sparsify ran"
        )
    texts = read_token_texts(origin.data, tokenizer, length=origin.length, causal=causal)
    if texts.hash != origin.data_hash:
        raise ValueError(
            f"the rows of {', '.join(map(str, origin.data))} are not those that {path} was distilled on, so "
            "it is not known which were held out; restore the files"
        )
    return texts


def _check_alike(path: Path, origin: Origin, other_path: Path, other: Origin) -> None:
    """See that two folders differ in nothing that would make their decisions those of different models."""
    for field, what in (
        ("model", "dense model"),
        ("data_hash", "data"),
        ("length", "length"),
        ("spec", "spec"),
    ):
        if getattr(origin, field) != getattr(other, field):
            raise ValueError(
                f"{path} and {other_path} differ in their {what}, so their decisions cannot be compared "
                "token by token; name folders that differ in their seed"
            )
