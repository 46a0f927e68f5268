"""Decoding of many requests at once: a running batch, its streams, and how their tokens are chosen."""

from sma.decoding.batch import Batch, Decoder
from sma.decoding.compiled import CompiledDecoder, decoder
from sma.decoding.sampling import Sampling, choose
from sma.decoding.stream import Stream

__all__ = ["Batch", "CompiledDecoder", "Decoder", "Sampling", "Stream", "choose", "decoder"]
