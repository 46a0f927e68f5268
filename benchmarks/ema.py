"""`MultiHeadEMA` (chunks) against the same function by FFT, the way it is usually computed.

    python -m benchmarks.ema [--bidirectional] [--truncation 1024] [--threads 2] [--rounds 10] [--device cuda]

One training step (forward and backward) in float32: time, and the memory it needs on top of what it finds.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.measure import compare, peak_memory, table, training_step
from sma.modules import MultiHeadEMA

SHAPES = [(4, 4096), (1, 16384), (1, 65536)]


def by_fft(ema: MultiHeadEMA, x: Tensor) -> Tensor:
    """The whole kernel as a (D, S, L) sum, then a product of spectra of twice the length."""
    length = x.shape[1]
    n_taps = min(ema.truncation or length, length)
    lags = torch.arange(n_taps, device=x.device)
    kernels = [torch.einsum("dsl,ds->dl", (m.log_decay[..., None] * lags).exp(), m.gain) for m in ema.modes()]
    u, size = x.transpose(1, 2), 2 * length
    y = torch.fft.irfft(torch.fft.rfft(u, size) * torch.fft.rfft(kernels[0], size), size)[..., :length]
    if ema.bidirectional:  # one spectrum more: the kernel of the future, turned around the origin
        back = F.pad(kernels[1], (0, size - n_taps)).flip(-1).roll(1, -1)
        y = y + torch.fft.irfft(torch.fft.rfft(u, size) * torch.fft.rfft(back, size), size)[..., :length]
    return y.transpose(1, 2) + ema.omega * x


def step(options: argparse.Namespace, fft: bool, n_rows: int, length: int) -> Callable[[], None]:
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    ema = MultiHeadEMA(
        options.d_model,
        d_state=options.d_state,
        bidirectional=options.bidirectional,
        truncation=options.truncation,
    ).to(options.device)
    x = torch.randn(n_rows, length, options.d_model, device=options.device)
    if fft and length <= 2**14:
        torch.testing.assert_close(by_fft(ema, x), ema(x), rtol=1e-4, atol=1e-4)
    return training_step(ema, x, (lambda x: by_fft(ema, x)) if fft else None)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--d-model", type=int, default=128)
    parser.add_argument("--d-state", type=int, default=16)
    parser.add_argument("--bidirectional", action="store_true")
    parser.add_argument("--truncation", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {options.device}, {options.threads} threads")
    for n_rows, length in SHAPES:
        print(f"\nB {n_rows}, L {length}, D {options.d_model}, S {options.d_state}")
        contenders = {"chunks": False, "FFT": True}
        runs = {name: step(options, fft, n_rows, length) for name, fft in contenders.items()}
        print(table(compare(runs, rounds=options.rounds)))
        for name, fft in contenders.items():
            print(f"{name:<34}{peak_memory(step, options, fft, n_rows, length) / 2**20:>8.0f}MiB")


if __name__ == "__main__":
    main()
