"""The base of the model classes for transformers: building, loading, saving, and reading inputs."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from typing_extensions import override

from sma.architectures.files.weights import check_is_tensor
from sma.architectures.models.sequence import SequenceModel
from sma.recording import record, recording_as_result
from sma.transformers.cards import CardFacts, write_card
from sma.transformers.config import SMAConfig
from sma.transformers.hub import upload
from sma.transformers.models.loading import check_loaded, moved
from transformers import PreTrainedModel

M = TypeVar("M", bound="SMAPreTrainedModel")


class SMAPreTrainedModel(PreTrainedModel):
    """Base of a `SequenceModel` as a model of transformers.

    Weights are initialised by the parts themselves, as everywhere in this project. In training, `loss`
    contains the routers' auxiliary losses; in evaluation it is the loss of the labels alone.

    Args:
        config: holds the spec.
        model: of that spec, whose weights are used; None builds a new one.

    Attributes:
        model: the `SequenceModel`.

    Raises:
        ValueError: if the head of the spec is not of the kind that this class needs.
    """

    config_class = SMAConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _is_stateful = True
    _skip_keys_device_placement = ("past_key_values",)

    def __init__(self, config: SMAConfig, model: SequenceModel | None = None) -> None:
        super().__init__(config)
        self.model = _built(config) if model is None else model
        if self.model.spec.embedding.kind != "tokens":
            self.main_input_name = "input_values"
        self._no_split_modules = {type(block).__name__ for block in self.model.blocks}
        self._check_head(self.model)
        self.post_init()

    @classmethod
    def from_model(cls: type[M], model: nn.Module, **fields: Any) -> M:
        """A model of transformers with the weights of `model` itself, not a copy of them.

        Args:
            model: as built, trained, loaded or imported.
            fields: of the configuration, such as `eos_token_id` or `id2label`.

        Example:
            >>> from sma.architectures import seqboat
            >>> from sma.transformers import SMAForCausalLM
            >>> model = seqboat(vocab_size=256, d_model=16, n_layers=2).build()
            >>> SMAForCausalLM.from_model(model).model is model
            True
        """
        if not isinstance(model, SequenceModel):
            raise ValueError(
                f"model is of type {type(model).__name__}, not SequenceModel; give one that a spec of kind "
                "sequence_model builds, or put it on the Hub with sma.transformers.hub.push"
            )
        wrapped = cls(SMAConfig(spec=model.spec, **fields), model)
        return wrapped.train(model.training)

    def _check_head(self, model: SequenceModel) -> None:
        """Raise ValueError unless the model's head is of the kind that this class needs."""

    def _features(
        self,
        input_ids: Tensor | None,
        input_values: Tensor | None,
        attention_mask: Tensor | None,
        others: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor | None]:
        """What the model reads, and its mask `(B, L)` bool.

        Raises:
            ValueError: if there are none, or both, or arguments that this model cannot read.
        """
        for name, value in others.items():
            _check_unread(name, value)
        inputs = input_ids if input_values is None else input_values
        if inputs is None or (input_ids is not None and input_values is not None):
            raise ValueError(
                f"give {self.main_input_name}, what the embedding of kind {self.model.spec.embedding.kind!r} "
                "reads, and no other inputs"
            )
        if attention_mask is None:
            return inputs, None
        if attention_mask.dim() != 2:
            raise ValueError(
                f"attention_mask is {tuple(attention_mask.shape)}, but must be (B, L) with 0 for padding; "
                "causality is a property of the spec"
            )
        return inputs, attention_mask.bool()

    def _run(
        self, function: Callable[[Tensor, Tensor | None], Tensor], inputs: Tensor, mask: Tensor | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The result of a method of the model, and in training the routers' losses."""
        if not self.training:
            return function(inputs, mask), {}
        if torch.compiler.is_compiling():
            result, recording = recording_as_result(function, inputs, mask)
        else:
            with record(self.model, passed_on=True) as recording:
                result = function(inputs, mask)
        return result, recording.losses

    @contextmanager
    def _hidden_states(self, wanted: bool | None, *, cached: bool = False) -> Iterator[list[Tensor]]:
        """Collect the outputs of the embedding and of every block, the last one after the model's norm."""
        collected: list[Tensor] = []
        hooks = []
        if self.config.output_hidden_states if wanted is None else wanted:
            if cached:
                raise ValueError(
                    "output_hidden_states=True: decoding with a cache computes no hidden states of whole "
                    "rows; set use_cache=False"
                )
            parts = (self.model.embedding, *self.model.blocks)
            hooks += [part.register_forward_hook(lambda *call: collected.append(call[-1])) for part in parts]
            if self.model.norm is not None:
                last = lambda *call: collected.__setitem__(-1, call[-1])  # noqa: E731
                hooks.append(self.model.norm.register_forward_hook(last))
        try:
            yield collected
        finally:
            for hook in hooks:
                hook.remove()

    def _returned(self, output: Any, return_dict: bool | None) -> Any:
        return (
            output if (self.config.return_dict if return_dict is None else return_dict) else output.to_tuple()
        )

    @override
    def get_input_embeddings(self) -> nn.Module:
        """The model's embedding."""
        return self.model.embedding

    @override
    def set_input_embeddings(self, value: nn.Module) -> None:
        """Refused: the embedding is a part of the spec."""
        raise ValueError("the embedding is a part of the spec; set config.spec['embedding'] and build anew")

    @override
    def get_output_embeddings(self) -> nn.Module | None:
        """The linear layer of a language model's head; None where it shares the embedding's matrix."""
        output = getattr(self.model.head, "output", None)
        return output if getattr(self.model.head, "needs_causal", False) else None

    @override
    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, *args: Any, **kwargs: Any
    ) -> nn.Module:
        """Refused, but for the number that there is."""
        if new_num_tokens not in (None, self.config.vocab_size):
            raise ValueError(
                f"new_num_tokens={new_num_tokens}, but the spec has embedding.vocab_size="
                f"{self.config.vocab_size}; build the model with a larger vocab_size from the start"
            )
        return self.get_input_embeddings()

    @property
    def gradient_checkpointing(self) -> bool:
        """Whether activations are computed again in the backward pass, see `sma.recompute`."""
        return self.model.activation_checkpointing

    @gradient_checkpointing.setter
    def gradient_checkpointing(self, value: bool) -> None:
        self.model.activation_checkpointing = value

    def _set_gradient_checkpointing(
        self,
        enable: bool = True,
        gradient_checkpointing_func: Any = checkpoint,
        every_n_layers: int = 1,
    ) -> None:
        """Let blocks be recomputed by `sma.recompute`, which replays routing, not by torch's function."""
        function = getattr(gradient_checkpointing_func, "func", gradient_checkpointing_func)
        options = getattr(gradient_checkpointing_func, "keywords", {})
        for name, wrong in (
            ("use_reentrant=True", bool(options.get("use_reentrant"))),
            ("offload=True", function is not checkpoint),
            (f"every_n_layers={every_n_layers}", every_n_layers != 1),
        ):
            if enable and wrong:
                raise ValueError(
                    f"{name}: blocks are recomputed by sma.recompute, which replays the routing and has no "
                    "such option; leave it out"
                )
        self.gradient_checkpointing = enable

    def _init_weights(self, module: nn.Module) -> None:
        """Nothing: the parts initialise their own weights when they are built."""

    @classmethod
    def get_init_context(cls, *args: Any, **kwargs: Any) -> list[Any]:
        """Without the meta device: what a file does not hold keeps the values of a newly built model."""
        contexts = super().get_init_context(*args, **kwargs)
        return [context for context in contexts if context != torch.device("meta")]

    @staticmethod
    def _finalize_model_loading(model: Any, load_config: Any, loading_info: Any) -> Any:
        check_loaded(load_config, loading_info)
        return PreTrainedModel._finalize_model_loading(model, load_config, loading_info)

    def _move_missing_keys_from_meta_to_device(
        self, missing_keys: Any, device_map: Any, *args: Any, **kwargs: Any
    ) -> None:
        """Move what a file does not hold, which has its values already, to where the map says."""
        names = {*missing_keys, *(name for name, _ in self.named_non_persistent_buffers())}
        moved({name: self.get_parameter_or_buffer(name) for name in names}, device_map)

    @classmethod
    def register_for_auto_class(cls, auto_class: str = "AutoModel") -> None:
        """Nothing: a saved folder names this package, and no code is copied into it."""

    @override
    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        card: CardFacts | None = None,
        push_to_hub: bool = False,
        is_main_process: bool = True,
        **kwargs: Any,
    ) -> None:
        """Write the model to a folder as in transformers, with a model card.

        Args:
            save_directory: the folder.
            card: what README.md says of the model's training. Without it a README.md that is there stays.
            push_to_hub: upload the folder as well, to the repository `repo_id`, by default of its name.
            is_main_process: False writes nothing.
            kwargs: of `transformers.PreTrainedModel.save_pretrained`, and of `sma.transformers.hub.upload`.
        """
        folder = Path(save_directory)
        for name, tensor in self.state_dict().items():
            check_is_tensor(name, tensor)
        options = {name: kwargs.pop(name) for name in _UPLOAD & kwargs.keys()} if push_to_hub else {}
        super().save_pretrained(save_directory, is_main_process=is_main_process, **kwargs)
        if is_main_process:
            write_card(folder, self.model.spec, card, wrapper=type(self).__name__)
        if is_main_process and push_to_hub:
            self.push_to_hub(options.pop("repo_id", folder.name), card=card, **options)

    @override
    def push_to_hub(self, repo_id: str, *, card: CardFacts | None = None, **options: Any) -> Any:
        """Save the model to a repository of the Hub, with a model card.

        Args:
            repo_id: such as `"user/model"`; it is made if there is none.
            card: what README.md says of the model's training. Without it a README.md that is there stays.
            options: of `sma.transformers.hub.upload`; `max_shard_size` of `save_pretrained`.

        Returns:
            `huggingface_hub.CommitInfo`.
        """
        sizes = {name: options.pop(name) for name in {"max_shard_size"} & options.keys()}
        save = partial(self.save_pretrained, card=card, **sizes)
        return upload(save, repo_id, new_card=card is not None, **options)


_UPLOAD = {"repo_id", "token", "private", "revision", "create_pr", "commit_message", "commit_description"}


def _built(config: SMAConfig) -> SequenceModel:
    """The model of a configuration in torch's default dtype, but for what stays in float32."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        return config.model_spec.build().to(dtype)
    finally:
        torch.set_default_dtype(dtype)


def _check_unread(name: str, value: Any) -> None:
    """Raise ValueError if an argument that this project does not read says something."""
    if value is None or value is False or (name == "token_type_ids" and not value.any()):
        return
    remedy = {
        "inputs_embeds": "the embedding adds positions and norms to what it reads: give tokens",
        "position_ids": "positions count the real elements of a row: give an attention_mask for padding, and "
        "documents as rows of their own",
        "token_type_ids": "there are no segments: give one text per row",
        "output_attentions": "sub-modules attend to their activated elements only: see sma.record",
    }.get(name, "leave it out")
    raise ValueError(f"{name} is not read by models of sma; {remedy}")
