"""`SMAForCausalLM`: a language model for transformers."""

from functools import partial
from typing import Any, NoReturn

from torch import Tensor, nn
from typing_extensions import override

from sma.architectures.models.sequence import SequenceModel
from sma.transformers.models.base import SMAPreTrainedModel
from sma.transformers.models.cache import StateCache
from sma.transformers.models.heads import needs_causal
from sma.transformers.models.losses import IGNORED, cross_entropy, with_routers
from transformers import Cache, GenerationConfig, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast

_MODES = ("greedy_search", "sample", "beam_search", "beam_sample")


class SMAForCausalLM(SMAPreTrainedModel, GenerationMixin):
    """A `SequenceModel` with a head that predicts the next token, such as `language_model`.

    `generate` decodes step by step with a state of constant size, greedily, by sampling and by beam search,
    and equals this project's own decoding. Prompts of several lengths are padded on the left.

    Args:
        config: holds the spec.
        model: of that spec, whose weights are used; None builds a new one.

    Raises:
        ValueError: if the head does not predict the next token, or a part of the model looks ahead.

    Example:
        >>> import torch
        >>> from sma.architectures import seqboat
        >>> from sma.transformers import SMAConfig
        >>> config = SMAConfig(spec=seqboat(vocab_size=256, d_model=16, n_layers=2))
        >>> model = SMAForCausalLM(config)
        >>> prompt = torch.tensor([[104, 105]])
        >>> model.generate(prompt, max_new_tokens=3, do_sample=False).shape
        torch.Size([1, 5])
        >>> model(prompt, labels=prompt).loss.shape
        torch.Size([])
    """

    @override
    def _check_head(self, model: SequenceModel) -> None:
        if not needs_causal(model):
            raise ValueError(
                f"head.kind={model.spec.head.kind!r} does not predict the next token; use "
                "SMAForSequenceClassification or SMAForTokenClassification, or a head of kind language_model"
            )

    @override
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: StateCache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Scores of the next token, and the loss.

        Args:
            input_ids: `(B, L)` tokens; with a cache those after what it has seen.
            attention_mask: `(B, L)`, 0 at padding, which may stand anywhere; or, with a cache, of all
                elements so far.
            past_key_values: a `StateCache`, advanced in place.
            labels: `(B, L)`, usually `input_ids`; each is compared with the scores at the element before it,
                and -100 is not scored.
            use_cache: return a cache; by default only if one is given.
            logits_to_keep: of how many last elements, or of which, to return scores; 0: of all.
            output_hidden_states: return the outputs of the embedding and of every block, without a cache.
            return_dict: False returns a tuple.
            num_items_in_batch: how many labels the step scores, over all micro-batches.
            kwargs: refused, unless None or False.

        Returns:
            `CausalLMOutputWithPast`.
        """
        inputs, mask = self._features(input_ids, None, attention_mask, kwargs)
        cache = _cache(past_key_values, use_cache)
        with self._hidden_states(output_hidden_states, cached=cache is not None) as hidden:
            if cache is None:
                logits, auxiliary = self._run(self.model, inputs, mask)
            else:
                advance = partial(cache.advance, self.model)
                logits, auxiliary = self._run(advance, inputs, _newest(mask, inputs, cache.length))
        loss = None
        if labels is not None:
            _check_labels(labels, inputs)
            shifted = nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
            loss = cross_entropy(logits, shifted, num_items_in_batch)
            loss = with_routers(loss, auxiliary, shifted, num_items_in_batch)
        kept = slice(-logits_to_keep or None, None) if isinstance(logits_to_keep, int) else logits_to_keep
        output = CausalLMOutputWithPast(
            loss=loss, logits=logits[:, kept], past_key_values=cache, hidden_states=tuple(hidden) or None
        )
        return self._returned(output, return_dict)

    @override
    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Tokens after prompts, see `transformers.GenerationMixin.generate`.

        Raises:
            ValueError: if prompts are empty or padded on the right, or the settings ask for what a recurrent
                state cannot do: assisted, contrastive, constrained or grouped search, or caches of another
                kind.
        """
        if kwargs.get("cache_implementation") is not None:
            raise _other_cache(kwargs["cache_implementation"])
        prompt = inputs if inputs is not None else kwargs.get("input_ids")
        if prompt is not None and prompt.shape[-1] == 0:
            raise ValueError(
                f"the prompt is empty, of shape {tuple(prompt.shape)}; give at least one token, such as "
                "bos_token_id, or no prompt at all"
            )
        settings = self._prepare_generation_config(generation_config, **kwargs)[0]
        if settings.cache_implementation is not None:
            raise _other_cache(settings.cache_implementation)
        if kwargs.get("custom_generate") is None:
            _check_mode(settings, kwargs.get("assistant_model"))
        return super().generate(inputs, generation_config, *args, **kwargs)

    @override
    def init_continuous_batching(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refused, and with it `generate_batch`: its pages hold keys and values.

        Raises:
            ValueError: always.
        """
        raise _other_cache("paged")

    def _prefill(
        self,
        input_ids: Tensor,
        generation_config: Any,
        model_kwargs: dict[str, Any],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Read the prompts, which must end in real tokens."""
        mask = model_kwargs.get("attention_mask")
        if mask is not None and not mask[:, -1].all():
            raise ValueError(
                "attention_mask is 0 at the end of a row: prompts are padded on the right, and would be "
                "continued after the padding; set tokenizer.padding_side='left'"
            )
        return super()._prefill(input_ids, generation_config, model_kwargs, *args, **kwargs)

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """A new `StateCache`, or the one that was given."""
        given = model_kwargs.get("past_key_values")
        if given is not None:
            given._is_user_defined = True
        elif generation_config.use_cache is not False:
            model_kwargs["past_key_values"] = StateCache()


def _cache(given: Cache | None, use_cache: bool | None) -> StateCache | None:
    if given is not None and not isinstance(given, StateCache):
        raise ValueError(
            f"past_key_values is a {type(given).__name__}; give a sma.transformers.StateCache, or leave it "
            "out"
        )
    if use_cache is False:
        return None
    return StateCache() if given is None and use_cache else given


def _newest(mask: Tensor | None, inputs: Tensor, known: int) -> Tensor | None:
    """The part of a mask over all elements that is about the newest."""
    if mask is None:
        return None
    n_new = inputs.shape[1]
    if mask.shape[1] not in (n_new, known + n_new):
        raise ValueError(
            f"attention_mask covers {mask.shape[1]} elements, but there are {n_new} after the {known} that "
            "the cache has seen; give one of the new elements, or of both together"
        )
    return mask[:, -n_new:]


def _other_cache(kind: str) -> ValueError:
    return ValueError(
        f"cache_implementation={kind!r}: the state has a constant size, and there is no other cache; leave "
        "it out, and let rows join and leave a batch by State.join and State.select"
    )


def _check_labels(labels: Tensor, inputs: Tensor) -> None:
    if labels.shape != inputs.shape[:2] or labels.is_floating_point():
        raise ValueError(
            f"labels are {tuple(labels.shape)} {labels.dtype}, but must be integers of shape "
            f"{tuple(inputs.shape[:2])}, as input_ids; -100 is not scored"
        )


def _check_mode(settings: GenerationConfig, assistant: Any) -> None:
    mode = str(settings.get_generation_mode(assistant).value)
    if mode in _MODES:
        return
    remedy = {
        "assisted_generation": "the state of a recurrent model cannot go back to before a refused token",
        "contrastive_search": "it compares the hidden states of all elements, which a state of constant size "
        "does not keep",
    }.get(mode, "transformers loads it as code from the Hub, made for caches of keys and values")
    raise ValueError(f"{mode}: {remedy}; use greedy search, sampling or beam search")
