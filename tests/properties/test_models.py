"""The contract over whole language models: what holds for every part holds for what is made of them."""

from sma import SMA, CapacityCompaction, SequenceModule
from sma.architectures import mixtral_like, mixture_of_depths, seqboat, sma_all, switch
from sma.testing import SequenceModuleContract


class OfTokens(SequenceModule):
    """A language model as a map of `(B, L, 1)` to scores: the inputs' digits are the tokens."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, mask=None):
        return self.model(self._tokens(x), mask)

    def init_state(self, batch_size, *, device=None, dtype=None):
        return self.model.init_state(batch_size)

    def step(self, x, state, mask=None):
        return self.model.prefill(self._tokens(x), mask, state)[0]

    @staticmethod
    def _tokens(x):
        return (x[..., 0].nan_to_num(3.0) * 100).long() % 10


class TestSeqBoat(SequenceModuleContract):
    d_model = 1
    jumps = True
    smooth = False  # finite differences of its block are compared elsewhere, in less time

    def make(self):
        spec = seqboat(
            vocab_size=10, d_model=8, n_layers=2, d_qk=4, window=3, d_state=2, truncation=5, dropout=0.1
        )
        return OfTokens(spec.build())


class TestSeqBoatWithAnOverflowingCapacity(SequenceModuleContract):
    d_model = 1
    jumps = True
    smooth = False

    def make(self):
        spec = seqboat(vocab_size=10, d_model=8, n_layers=2, d_qk=4, window=3, d_state=2)
        model = spec.build()
        for part in model.modules():
            if isinstance(part, SMA):
                part.compaction = CapacityCompaction(0.3)
        return OfTokens(model)


class TestMixtralLike(SequenceModuleContract):
    d_model = 1
    jumps = True
    smooth = False

    def make(self):
        spec = mixtral_like(
            vocab_size=10, d_model=8, n_layers=1, n_heads=2, n_experts=3, d_hidden=5, max_positions=20
        )
        return OfTokens(spec.build())


class TestSwitch(SequenceModuleContract):
    d_model = 1
    jumps = True
    smooth = False

    def make(self):
        spec = switch(vocab_size=10, d_model=8, n_layers=1, n_heads=2, n_experts=3, max_positions=20)
        return OfTokens(spec.build())


class TestSMAAll(SequenceModuleContract):
    d_model = 1
    jumps = True
    smooth = False

    def make(self):
        return OfTokens(sma_all(vocab_size=10, d_model=8, n_layers=2, window=3, d_state=2).build())


class TestMixtureOfDepths(SequenceModuleContract):
    d_model = 1
    jumps = True
    smooth = False
    test_causality = None  # a routed block chooses among the elements of the whole row
    test_steps = None  # a predictor chooses in decoding, so that steps only approximate whole rows

    def make(self):
        spec = mixture_of_depths(
            vocab_size=10, d_model=8, n_layers=2, capacity=0.5, n_heads=2, max_positions=20
        )
        return OfTokens(spec.build())
