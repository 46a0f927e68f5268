"""Specs and what they build: SeqBoat, its relatives and anything composed from the same parts."""

if __name__ == "architectures":
    raise ImportError("import sma.architectures, not architectures: the bare name is only its folder")

from sma.architectures.blocks.residual import Residual, ResidualSpec
from sma.architectures.blocks.stack import Blocks, BlocksSpec, RoutedLayerSpec, Stack, StackSpec
from sma.architectures.files.folders import load_model, load_state, save_model, save_state
from sma.architectures.files.yaml import dump_spec, load_spec, parse_spec
from sma.architectures.models.embeddings import BagEmbedding, BagSpec
from sma.architectures.models.graph import GraphModel, GraphModelSpec, NodeClassifier, NodeClassifierSpec
from sma.architectures.models.sequence import SequenceModel, SequenceModelSpec
from sma.architectures.presets.graph import graph_network
from sma.architectures.presets.mega import (
    MegaOptions,
    gau_always,
    mega,
    mega_chunk,
    seqboat_full,
    ssm_only,
)
from sma.architectures.presets.mixtures import mixtral_like, mixture_of_depths, moe_seqboat, sma_all, switch
from sma.architectures.presets.seqboat import SeqBoatOptions, seqboat, seqboat_block
from sma.architectures.presets.seqboat_layer import SeqBoat
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
from sma.architectures.presets.transformer import TransformerOptions, local_attention, transformer
from sma.architectures.published.checkpoint import model_from_checkpoint
from sma.architectures.published.load import (
    layer_from_reference,
    model_from_reference,
    parameters_published,
)
from sma.architectures.specs.feed_forward import MixtureOfExpertsSpec
from sma.architectures.specs.graph import GraphConvolutionSpec
from sma.architectures.specs.ssm import EMASpec, S4DSpec, SelectiveSSMSpec, SSMSubModuleSpec

__all__ = [
    "PUBLISHED_PARAMETERS",
    "BagEmbedding",
    "BagSpec",
    "Blocks",
    "BlocksSpec",
    "EMASpec",
    "GraphConvolutionSpec",
    "GraphModel",
    "GraphModelSpec",
    "MegaOptions",
    "MixtureOfExpertsSpec",
    "NodeClassifier",
    "NodeClassifierSpec",
    "Residual",
    "ResidualSpec",
    "RoutedLayerSpec",
    "S4DSpec",
    "SSMSubModuleSpec",
    "SelectiveSSMSpec",
    "SeqBoat",
    "SeqBoatOptions",
    "SequenceModel",
    "SequenceModelSpec",
    "Stack",
    "StackSpec",
    "TransformerOptions",
    "dump_spec",
    "gau_always",
    "graph_network",
    "layer_from_reference",
    "load_model",
    "load_spec",
    "load_state",
    "local_attention",
    "mega",
    "mega_chunk",
    "mixtral_like",
    "mixture_of_depths",
    "model_from_checkpoint",
    "model_from_reference",
    "moe_seqboat",
    "parameters_published",
    "parse_spec",
    "save_model",
    "save_state",
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
    "sma_all",
    "ssm_only",
    "switch",
    "transformer",
]
