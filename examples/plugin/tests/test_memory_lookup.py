from sma_memory_lookup import MemoryLookupSpec

from sma.testing import SpecContract, SubModuleContract


class TestMemoryLookup(SubModuleContract):
    def make(self):
        return MemoryLookupSpec(n_slots=4).build(self.d_model)


class TestMemoryLookupSpec(SpecContract):
    def make(self):
        return MemoryLookupSpec(n_slots=4)

    def build(self, spec):
        return spec.build(self.d_model)
