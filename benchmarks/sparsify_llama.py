"""A small Llama, trained here on Python source, made sparse: bits per byte against operations, and decoding.

    python -m benchmarks.sparsify_llama --dense-steps 2000 --steps 200

The dense model and its tokenizer are kept in runs/sparsify_llama/, the results of runs under
benchmarks/results/sparsify/: the same command goes on where it ended.
"""

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import sma
from benchmarks.sparsify_runs import (
    PARTS,
    Remembered,
    Run,
    become,
    cost,
    options,
    read,
    times_by_rate,
    to_make,
    write,
)
from benchmarks.sparsify_texts import python_source
from sma.training.optimization.schedules import CosineSchedule
from sma.training.sparsification.distillation import Distillation, distill

MODEL = "llama"
FOLDER = Path("runs") / "sparsify_llama"
VOCABULARY, LENGTH, BATCH = 2048, 128, 16
N_HELD_OUT = 64
"""Rows that are measured on, evenly spaced over the last twentieth of the source."""
N_NEW, N_PROMPT, N_ROWS = 64, 64, 4
"""Of decoding: new tokens, tokens of a prompt, rows."""


class Bench:
    """The dense model, its tokens, and measures of any model beside it."""

    def __init__(self, dense_steps: int) -> None:
        from transformers import PreTrainedTokenizerFast

        source = python_source()
        cut = 19 * len(source) // 20
        if not (FOLDER / "tokenizer.json").exists():
            _train_tokenizer(source[:cut].decode("utf-8", "replace"))
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(FOLDER / "tokenizer.json"))
        self.training, self.held_out = (
            torch.tensor(self.tokenizer(part.decode("utf-8", "replace"))["input_ids"])
            for part in (source[:cut], source[cut:])
        )
        step = len(self.held_out) // N_HELD_OUT
        rows = torch.stack([self.held_out[i * step : i * step + LENGTH] for i in range(N_HELD_OUT)])
        self.rows = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
        self.n_bytes = len(self.tokenizer.decode(rows[:, 1:].flatten()).encode())
        self.sample = {name: value[:8] for name, value in self.rows.items()}
        self.dense = self.trained(dense_steps)
        self.teacher = Remembered(self.dense)

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        """Random pieces of the source; the labels are the tokens."""
        drawn = torch.Generator().manual_seed(seed)
        while True:
            starts = torch.randint(len(self.training) - LENGTH, (BATCH,), generator=drawn)
            ids = torch.stack([self.training[start : start + LENGTH] for start in starts.tolist()])
            yield {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}

    def trained(self, steps: int) -> Any:
        """The dense model, trained here once."""
        from transformers import LlamaConfig, LlamaForCausalLM

        folder = FOLDER / f"dense-{steps}"
        if folder.exists():
            return LlamaForCausalLM.from_pretrained(folder).eval()
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=6,
            num_attention_heads=6,
            num_key_value_heads=6,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
        )
        model = LlamaForCausalLM(config)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
        schedule, start = CosineSchedule(), time.monotonic()
        for step, batch in zip(range(steps), self.batches(1), strict=False):
            for group in optimizer.param_groups:
                group["lr"] = 2e-3 * schedule.factor(step, step / steps)
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if step % 50 == 0:
                print(f"dense, step {step}: {loss.item():.3f}, {time.monotonic() - start:.0f} s", flush=True)
        model.save_pretrained(folder)
        return model.eval()

    @torch.no_grad()
    def quality(self, model: Any) -> dict[str, float]:
        """Bits per byte of the held-out rows, but for the first token of each."""
        nats = 0.0
        for i in range(0, N_HELD_OUT, 8):
            ids = self.rows["input_ids"][i : i + 8]
            logits = model(ids).logits[:, :-1].flatten(0, 1)
            nats += float(F.cross_entropy(logits, ids[:, 1:].flatten(), reduction="sum"))
        return {"bits per byte": nats / math.log(2) / self.n_bytes}

    @torch.no_grad()
    def decoding(self, model: Any) -> float:
        """Tokens per second of processor time of greedy decoding with a cache, the best of three."""
        prompt = {name: value[:N_ROWS, :N_PROMPT] for name, value in self.rows.items()}
        times = []
        for _ in range(3):
            start = time.process_time()
            model.generate(**prompt, max_new_tokens=N_NEW, do_sample=False, pad_token_id=0)
            times.append(time.process_time() - start)
        return N_ROWS * N_NEW / min(times)

    def kinds_of_tokens(self, model: Any) -> dict[str, list[float]]:
        """By kind of token: the share of its occurrences that parts compute, and that of all tokens it is."""
        with torch.no_grad(), sma.record(model) as recording:
            model(**self.sample)
        active = torch.stack([call.routing.active[..., 0].float() for call in recording.layers]).mean(0)
        found: dict[str, list[float]] = {}
        ids = self.sample["input_ids"]
        for token, share in zip(ids.flatten().tolist(), active.flatten().tolist(), strict=True):
            found.setdefault(_kind(self.tokenizer.decode([token])), []).append(share)
        return {
            kind: [sum(each) / len(each), len(each) / ids.numel()] for kind, each in sorted(found.items())
        }


def _kind(text: str) -> str:
    if not text.strip():
        return "line breaks and indents" if "\n" in text or len(text) > 1 else "single spaces"
    if text.strip().isidentifier():
        return "beginnings of words" if text[0].isspace() else "words and their insides"
    return "digits" if text.strip().isdigit() else "punctuation"


def _train_tokenizer(text: str) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    FOLDER.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(FOLDER / "tokenizer.json"))


def make(run: Run, bench: Bench, settings: Distillation) -> dict[str, Any]:
    """Distil one model, and measure it."""
    torch.manual_seed(run.seed)
    model = sma.sparsify(copy.deepcopy(bench.dense), parts=PARTS[run.parts], rate=run.rate)
    before_step = become(run, model, bench.dense, next(bench.batches(100 + run.seed)))
    start = time.monotonic()
    distill(model, bench.teacher, bench.batches(100 + run.seed), settings, before_step=before_step)
    return {
        "run": asdict(run),
        "settings": settings.model_dump(),
        "batch": [BATCH, LENGTH],
        "distillation seconds": time.monotonic() - start,
        **cost(model, bench.dense, bench.sample),
        "tokens per second": None if run.control in ("random", "even") else bench.decoding(model),
        "quality": bench.quality(model),
        "kinds of tokens": bench.kinds_of_tokens(model),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    parser = options(__doc__, steps=200)
    parser.add_argument("--dense-steps", type=int, default=2000, help="of the dense model's training")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(given.dense_steps)
    if read(f"{MODEL}-dense") is None:
        found = {
            "quality": bench.quality(bench.dense),
            "tokens per second": bench.decoding(bench.dense),
            "dense steps": given.dense_steps,
            "parameters": bench.dense.num_parameters(),
        }
        write(f"{MODEL}-dense", found)
    if read(f"{MODEL}-time") is None:
        write(f"{MODEL}-time", {"times": times_by_rate(bench.dense, bench.sample)})
    settings = Distillation(steps=given.steps, learning_rate=5e-4, router_learning_rate=1e-2, task=1.0)
    if read(f"{MODEL}-continued") is None:
        model = distill(copy.deepcopy(bench.dense), bench.teacher, bench.batches(100), settings)
        write(f"{MODEL}-continued", {"quality": bench.quality(model), "tokens per second": None})
    for run, own in to_make(MODEL, settings, given):
        found = make(run, bench, own)
        write(run.name, found)
        print(run.name, f"{found['cost']['operations']:.3f}", found["quality"], flush=True)


if __name__ == "__main__":
    main()
