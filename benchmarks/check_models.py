"""The properties of models of the transformers library, and of this project's presets, for docs/check.md.

    python -m benchmarks.check_models [--only llama seqboat]

Models have random small weights. What was found is kept in results/check/, one file per model, and the page's
tables and programs are written from these files. `--only` checks some models, without a name none.
"""

import argparse
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sma.testing.black_box import Finding, Report, check_model
from sma.testing.black_box.sources import broken

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks" / "results" / "check"
PAGE = ROOT / "docs" / "check.md"
EXAMPLES = 15
"""Inputs per property."""
SIZES = {"vocab_size": 32, "hidden_size": 16, "num_hidden_layers": 2, "initializer_range": 0.3}
HEADS = {"num_attention_heads": 2, "intermediate_size": 32}
GROUPED = {**HEADS, "num_key_value_heads": 1, "head_dim": 8}
MARKS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MAMBA2 = {
    "mamba_d_state": 4,
    "mamba_n_heads": 4,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_chunk_size": 4,
}


@dataclass(frozen=True)
class Model:
    """A model that is checked.

    Attributes:
        title: in the table.
        source: lines of Python that set `model`.
        options: of `check_model`.
    """

    title: str
    source: tuple[str, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def build(self) -> nn.Module:
        names: dict[str, Any] = {"torch": torch}
        exec("\n".join(self.source), names)
        return names["model"]


def causal(title: str, kind: str, window: int | None = None, **fields: Any) -> Model:
    return _of_config(title, "AutoModelForCausalLM", kind, {**MARKS, **fields}, window)


def masked(title: str, kind: str, **fields: Any) -> Model:
    common = {**SIZES, **HEADS, "max_position_embeddings": 64, "pad_token_id": 0}
    return _of_config(title, "AutoModelForMaskedLM", kind, {**common, **fields})


def encoder(title: str, name: str, **fields: Any) -> Model:
    values = {
        "vocab_size": 32,
        "d_model": 16,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        **fields,
    }
    return Model(
        title,
        (
            f"from transformers import {name}Config, {name}EncoderModel",
            "torch.manual_seed(0)",
            *broken(f"config = {name}Config({_arguments(values)})"),
            f"model = {name}EncoderModel(config)",
        ),
    )


def _of_config(title: str, auto: str, kind: str, fields: dict[str, Any], window: int | None = None) -> Model:
    return Model(
        title,
        (
            f"from transformers import AutoConfig, {auto}",
            "torch.manual_seed(0)",
            *broken(f'config = AutoConfig.for_model("{kind}", {_arguments(fields)})'),
            f"model = {auto}.from_config(config)",
        ),
        {} if window is None else {"window": window},
    )


def _arguments(fields: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in fields.items())


LLAMA = {**SIZES, **GROUPED}
EXPERTS = {**LLAMA, "num_experts_per_tok": 2}
MODELS: dict[str, Model] = {
    "llama": causal("Llama", "llama", **LLAMA),
    "mistral": causal("Mistral", "mistral", **LLAMA, sliding_window=4),
    "gemma2": causal("Gemma 2", "gemma2", **LLAMA, sliding_window=4),
    "gemma3": causal("Gemma 3", "gemma3_text", **LLAMA, sliding_window=4),
    "qwen3": causal("Qwen 3", "qwen3", **LLAMA),
    "mixtral": causal("Mixtral", "mixtral", **EXPERTS, num_local_experts=4),
    "qwen2_moe": causal(
        "Qwen 2 MoE",
        "qwen2_moe",
        **EXPERTS,
        num_experts=4,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
    ),
    "gpt_oss": causal("gpt-oss", "gpt_oss", **EXPERTS, num_local_experts=4, sliding_window=4),
    "deepseek_v3": causal(
        "DeepSeek V3",
        "deepseek_v3",
        **SIZES,
        **HEADS,
        num_key_value_heads=2,
        num_experts_per_tok=2,
        n_routed_experts=4,
        moe_intermediate_size=16,
        n_group=1,
        topk_group=1,
        kv_lora_rank=8,
        q_lora_rank=8,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=8,
        first_k_dense_replace=1,
    ),
    "gpt2": causal(
        "GPT-2", "gpt2", vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3
    ),
    "gpt_neox": causal("GPT-NeoX", "gpt_neox", **SIZES, **HEADS, max_position_embeddings=64),
    "opt": causal(
        "OPT",
        "opt",
        vocab_size=32,
        hidden_size=16,
        num_hidden_layers=2,
        ffn_dim=32,
        num_attention_heads=2,
        max_position_embeddings=64,
        word_embed_proj_dim=16,
        init_std=0.3,
    ),
    "falcon": causal("Falcon", "falcon", **SIZES, num_attention_heads=2),
    "bloom": causal(
        "BLOOM", "bloom", vocab_size=32, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.3
    ),
    "mamba": causal("Mamba", "mamba", **SIZES, state_size=4),
    "mamba2": causal(
        "Mamba 2", "mamba2", **SIZES, state_size=4, num_heads=4, head_dim=8, n_groups=1, chunk_size=4
    ),
    "recurrent_gemma": causal(
        "RecurrentGemma",
        "recurrent_gemma",
        **{**LLAMA, "num_hidden_layers": 3},
        attention_window_size=4,
        lru_width=16,
    ),
    "jamba": causal(
        "Jamba",
        "jamba",
        **{**LLAMA, "num_experts_per_tok": 1},
        num_experts=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        expert_layer_offset=1,
        mamba_d_state=4,
        mamba_dt_rank=2,
    ),
    "zamba2": causal(
        "Zamba 2",
        "zamba2",
        **{**SIZES, **HEADS, "num_hidden_layers": 3},
        num_key_value_heads=2,
        layers_block_type=["linear_attention", "hybrid", "linear_attention"],
        mamba_d_state=4,
        n_mamba_heads=4,
        mamba_ngroups=1,
        chunk_size=4,
        use_mem_rope=True,
    ),
    "bamba": causal("Bamba", "bamba", **LLAMA, **MAMBA2, attn_layer_indices=[1]),
    "falcon_h1": causal("Falcon H1", "falcon_h1", **LLAMA, **MAMBA2, mamba_d_ssm=32),
    "qwen3_next": causal(
        "Qwen 3 Next",
        "qwen3_next",
        **EXPERTS,
        num_experts=4,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        linear_num_key_heads=2,
        linear_num_value_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
    ),
    "lfm2": causal("LFM 2", "lfm2", **LLAMA, layer_types=["conv", "full_attention"]),
    "xlstm": causal(
        "xLSTM", "xlstm", vocab_size=32, hidden_size=128, num_hidden_layers=2, num_heads=2, chunk_size=4
    ),
    "rwkv": causal(
        "RWKV", "rwkv", vocab_size=32, hidden_size=16, num_hidden_layers=2, attention_hidden_size=16
    ),
    "bert": masked("BERT", "bert"),
    "roberta": masked("RoBERTa", "roberta", pad_token_id=1),
    "albert": masked("ALBERT", "albert", embedding_size=16),
    "deberta_v2": masked("DeBERTa v2", "deberta-v2", relative_attention=True, pos_att_type=["p2c", "c2p"]),
    "modernbert": masked(
        "ModernBERT",
        "modernbert",
        local_attention=4,
        global_attn_every_n_layers=2,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=1,
        sep_token_id=2,
    ),
    "t5": encoder("T5, encoder", "T5"),
    "switch": encoder(
        "Switch, encoder", "SwitchTransformers", num_experts=4, num_sparse_encoder_layers=1, expert_capacity=4
    ),
}


def preset(name: str, **options: Any) -> Model:
    checks = {key: options.pop(key) for key in ("call", "d_model_of_x", "vocab_of_x") if key in options}
    values = {"preset": name, **options}
    return Model(
        name,
        (
            "from sma.architectures.presets.by_name import expand_preset",
            "torch.manual_seed(0)",
            *broken(f"model = expand_preset({values!r}).build()"),
        ),
        {
            {"d_model_of_x": "d_model", "vocab_of_x": "vocab_size"}.get(key, key): value
            for key, value in checks.items()
        },
    )


def pair(model: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    return model((x, x), (mask, mask))


def chain(model: nn.Module, x: Tensor, mask: Tensor | None) -> Tensor:
    real = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    row = real.nonzero()[:, 0]
    here = (row[1:] == row[:-1]).nonzero().flatten()
    edges = torch.stack([torch.cat([here, here + 1]), torch.cat([here + 1, here])])
    y = model(x[real], edges, batch=row)
    return y.new_zeros(*real.shape, y.shape[-1]).masked_scatter(real[..., None], y)


SMALL = {"vocab_size": 32, "d_model": 16, "n_layers": 2}
PRESETS: dict[str, Model] = {
    **{
        name: preset(name, **SMALL)
        for name in (
            "gau_always",
            "mega",
            "mixtral_like",
            "mixture_of_depths",
            "seqboat_full",
            "ssm_only",
            "switch",
            "transformer",
        )
    },
    **{
        name: preset(name, **SMALL, window=4)
        for name in ("local_attention", "moe_seqboat", "seqboat", "sma_all")
    },
    "mega_chunk": preset("mega_chunk", **SMALL, chunk=4),
    "graph_network": preset(
        "graph_network", d_input=3, d_model=16, n_layers=2, n_classes=5, call=chain, d_model_of_x=3
    ),
    "seqboat_enwik8": preset("seqboat_enwik8"),
    "seqboat_lra_image": preset("seqboat_lra_image"),
    "seqboat_lra_listops": preset("seqboat_lra_listops"),
    "seqboat_lra_path_x": preset("seqboat_lra_path_x"),
    "seqboat_lra_pathfinder": preset("seqboat_lra_pathfinder"),
    "seqboat_lra_retrieval": preset("seqboat_lra_retrieval", call=pair, vocab_of_x=32),
    "seqboat_lra_text": preset("seqboat_lra_text"),
    "seqboat_speech_commands": preset("seqboat_speech_commands"),
}


NOTES: dict[tuple[str, str], str] = {}
"""What the source of a model says about a violation."""
COLUMNS = {
    "determinism": "same twice",
    "causality": "causal",
    "batch-mates": "batch-mates",
    "right padding": "padding right",
    "left padding": "left",
    "padding's content": "content",
    "packed rows": "packed",
    "decoding one by one": "decoding by one",
    "decoding in chunks": "in chunks",
    "decoding past the window": "past window",
    "decoding, left padding": "left-padded",
    "decoding after another row": "anew",
    "beam reorder": "beams",
    "rows that leave": "leave",
    "rows that join": "join",
    "recomputation": "recompute",
    "gradients of idle parts": "idle parts",
    "bfloat16 drift": "bfloat16",
    "save and load": "save",
}
"""The columns of the tables, by property."""
SIGNS = {"holds": "+", "violated": "**no**", "limit": "limit", "not tried": ""}


def table(titles: dict[str, str], reports: dict[str, Report]) -> str:
    """A row per model, a column per property."""
    lines = [["model", *COLUMNS.values()], ["---"] * (1 + len(COLUMNS))]
    for name, report in reports.items():
        cells = []
        for column in COLUMNS:
            finding = report[column]
            drift = column == "bfloat16 drift" and finding.verdict == "holds"
            cells.append(f"{finding.difference:.1g}" if drift else SIGNS[finding.verdict])
        lines.append([titles[name], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def violations(titles: dict[str, str], reports: dict[str, Report]) -> str:
    """What is violated, each with the program that shows it."""
    parts = []
    for name, report in reports.items():
        for finding in report.violations:
            assert finding.confirmed, f"{name}, {finding.name}: its program does not show it"
            note = NOTES.get((name, finding.name))
            parts += [
                f"### {titles[name]}: {finding.name}",
                "\n\n".join(
                    text for text in (f"{finding.detail[0].upper()}{finding.detail[1:]}.", note) if text
                ),
                f"```{{code-block}} python\n{finding.program.rstrip()}\n```",
            ]
    return "\n\n".join(parts)


def limits(titles: dict[str, str], reports: dict[str, Report]) -> str:
    """What is documented as a limit, by its documentation."""
    found: dict[str, list[str]] = {}
    for name, report in reports.items():
        for finding in report:
            if finding.verdict == "limit":
                found.setdefault(f"{finding.name}: {finding.reason}", []).append(titles[name])
    return "\n".join(f"- {', '.join(names)}, {reason}" for reason, names in found.items())


def not_tried(reports: dict[str, Report]) -> str:
    """Why properties were not tried."""
    found: dict[str, list[str]] = {}
    for report in reports.values():
        for finding in report:
            if finding.verdict == "not tried":
                names = found.setdefault(finding.reason, [])
                names += [finding.name] if finding.name not in names else []
    return "\n".join(f"- {', '.join(names)}: {reason}" for reason, names in found.items())


def page(text: str, reports: dict[str, Report]) -> str:
    """The page with its tables and lists written anew."""
    titles = {name: model.title for name, model in {**MODELS, **PRESETS}.items()}
    models = {name: reports[name] for name in MODELS if name in reports}
    presets = {name: reports[name] for name in PRESETS if name in reports}
    parts = {
        "versions": ", ".join(
            f"{name} {value}" for name, value in next(iter(models.values())).versions.items()
        ),
        "models": table(titles, models),
        "violations": violations(titles, models),
        "limits": limits(titles, models),
        "not tried": not_tried(models),
        "presets": table(titles, presets),
    }
    for name, part in parts.items():
        text, n = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)",
            lambda match, part=part: f"{match[1]}{part}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
        assert n == 1, f"no place for {name}"
    return text


def read(path: Path) -> Report:
    """A report from its file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    findings = [
        Finding(**{**finding, "names": tuple(finding.get("names", ()))}) for finding in values["findings"]
    ]
    return Report(**{**values, "findings": tuple(findings)})


def write(report: Report, path: Path) -> None:
    """A report to its file, without what says nothing."""
    values = report.to_dict()
    values["findings"] = [
        {key: value for key, value in finding.items() if value not in (None, "", (), [])}
        for finding in values["findings"]
    ]
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = {**MODELS, **PRESETS}
    parser.add_argument("--only", nargs="*", choices=[*everything], default=[*everything], metavar="MODEL")
    options = parser.parse_args()
    torch.set_num_threads(1)
    FOLDER.mkdir(exist_ok=True)
    for name in options.only:
        model = everything[name]
        report = check_model(model.build(), source=model.source, examples=EXAMPLES, **model.options)
        write(report, FOLDER / f"{name}.json")
        print(f"{name}: {report.seconds:.0f} s", *report.violations, sep="\n    ", flush=True)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), reports()), encoding="utf-8")


def reports() -> dict[str, Report]:
    """What is kept, by model."""
    return {path.stem: read(path) for path in FOLDER.glob("*.json")}


if __name__ == "__main__":
    main()
