import pytest

from sma.training.environment import derive_seed, find_device


@pytest.mark.parametrize("name", ["meta", "cuda:99", "hpu", "xla", "fpga"])
def test_a_device_that_does_not_compute_here_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=rf"^device='{name}' does not work here \(.*\); use device=cpu$"):
        find_device(name)


def test_seeds_depend_on_all_numbers() -> None:
    seeds = {derive_seed(a, b, c) for a in range(3) for b in range(3) for c in range(3)}
    assert len(seeds) == 27
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, 23) != derive_seed(12, 3)
