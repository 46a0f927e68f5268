"""Whole models: embedding, blocks and head."""

from sma.architectures.models.base import Model, ModelSpec
from sma.architectures.models.embeddings import (
    BagEmbedding,
    BagSpec,
    Embedding,
    FeatureEmbedding,
    FeaturesSpec,
    ScalarEmbedding,
    ScalarsSpec,
    ScaledSinusoid,
    TokenEmbedding,
    TokensSpec,
)
from sma.architectures.models.exporting import export_model, export_step
from sma.architectures.models.graph import GraphModel, GraphModelSpec, NodeClassifier, NodeClassifierSpec
from sma.architectures.models.heads import Classifier, ClassifierSpec, LanguageModelHead, LanguageModelSpec
from sma.architectures.models.sequence import SequenceModel, SequenceModelSpec, SequenceModelState

__all__ = [
    "BagEmbedding",
    "BagSpec",
    "Classifier",
    "ClassifierSpec",
    "Embedding",
    "FeatureEmbedding",
    "FeaturesSpec",
    "GraphModel",
    "GraphModelSpec",
    "LanguageModelHead",
    "LanguageModelSpec",
    "Model",
    "ModelSpec",
    "NodeClassifier",
    "NodeClassifierSpec",
    "ScalarEmbedding",
    "ScalarsSpec",
    "ScaledSinusoid",
    "SequenceModel",
    "SequenceModelSpec",
    "SequenceModelState",
    "TokenEmbedding",
    "TokensSpec",
    "export_model",
    "export_step",
]
