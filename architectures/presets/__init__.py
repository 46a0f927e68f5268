"""Presets: functions that return the spec of a known architecture."""

from sma.architectures.presets.graph import graph_network
from sma.architectures.presets.mega import mega, mega_chunk
from sma.architectures.presets.mixtures import mixtral_like, mixture_of_depths, moe_seqboat, sma_all, switch
from sma.architectures.presets.preset import Preset, sequence_model
from sma.architectures.presets.seqboat import (
    SeqBoat,
    gau_always,
    seqboat,
    seqboat_block,
    seqboat_full,
    ssm_only,
)
from sma.architectures.presets.seqboat_published import (
    PUBLISHED_PARAMETERS,
    seqboat_enwik8,
    seqboat_lra_image,
    seqboat_lra_listops,
    seqboat_lra_path_x,
    seqboat_lra_pathfinder,
    seqboat_lra_retrieval,
    seqboat_lra_text,
    seqboat_speech_commands,
)
from sma.architectures.presets.transformer import local_attention, transformer

__all__ = [
    "PUBLISHED_PARAMETERS",
    "Preset",
    "SeqBoat",
    "gau_always",
    "graph_network",
    "local_attention",
    "mega",
    "mega_chunk",
    "mixtral_like",
    "mixture_of_depths",
    "moe_seqboat",
    "seqboat",
    "seqboat_block",
    "seqboat_enwik8",
    "seqboat_full",
    "seqboat_lra_image",
    "seqboat_lra_listops",
    "seqboat_lra_path_x",
    "seqboat_lra_pathfinder",
    "seqboat_lra_retrieval",
    "seqboat_lra_text",
    "seqboat_speech_commands",
    "sequence_model",
    "sma_all",
    "ssm_only",
    "switch",
    "transformer",
]
