"""Tiny folders in the layouts of the published data sets."""

import pickle
import struct
import wave
from pathlib import Path

import numpy as np

CODES = {np.dtype("u2"): 8, np.dtype("i4"): 4}


def write_fairseq_rows(prefix, rows, dtype="u2"):
    """`prefix.bin` and `prefix.idx` of lists of tokens."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.array([len(row) for row in rows], "<i4")
    places = (np.cumsum(lengths) - lengths).astype("<i8") * np.dtype(dtype).itemsize
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQ", 1, CODES[np.dtype(dtype)], len(rows))
    Path(f"{prefix}.idx").write_bytes(header + lengths.tobytes() + places.tobytes())
    np.concatenate([np.array(row, dtype) for row in rows]).tofile(f"{prefix}.bin")


def write_fairseq(root, splits, sources=("src-bin",)):
    """fairseq's preparation: by split, rows of tokens (one per source) and a label."""
    for name, rows in splits.items():
        for i, folder in enumerate(sources):
            write_fairseq_rows(root / folder / name, [[*row[i], 2] for row in rows])
        write_fairseq_rows(root / "label-bin" / name, [[4 + row[-1], 2] for row in rows], "i4")


def write_listops(root):
    for name, n in (("train", 4), ("val", 2), ("test", 3)):
        lines = [
            f"( ( ( [MAX {i} ) ( ( [MIN 7 ) 9 ) ) ) ] )\t{max(i, 7)}".replace(") ] )", "] ) ] )")
            for i in range(n)
        ]
        (root / f"basic_{name}.tsv").write_text("\n".join(["Source\tTarget", *lines]) + "\n")


def write_reviews(root):
    for split, n in (("train", 20), ("test", 5)):
        for label in ("neg", "pos"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for i in range(n):
                (folder / f"{i:02}_1.txt").write_bytes(f"{label} {split} {i:02}".encode())


def write_pairs(root):
    for name, n in (("train", 6), ("eval", 2), ("test", 3)):
        lines = [f'{float(i % 2)}\tA{i}\tB{i}\t"first ""{i}"""\tsecond {"x" * i}.' for i in range(n)]
        (root / f"new_aan_pairs.{name}.tsv").write_text("\n".join(lines) + "\n")


def cifar_records(n, seed):
    generator = np.random.default_rng(seed)
    return np.arange(n) % 10, generator.integers(0, 256, (n, 3072), dtype=np.uint8)


CIFAR_NAMES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")


def write_cifar_binary(root):
    folder = root / "cifar-10-batches-bin"
    folder.mkdir()
    for seed, name in enumerate(CIFAR_NAMES):
        labels, pixels = cifar_records(8, seed)
        np.concatenate([labels[:, None].astype(np.uint8), pixels], 1).tofile(folder / f"{name}.bin")


def write_cifar_python(root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for seed, name in enumerate(CIFAR_NAMES):
        labels, pixels = cifar_records(8, seed)
        content = {b"labels": labels.tolist(), b"data": pixels, b"batch_label": b"one"}
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def write_prepared_pixels(root, side, n_classes):
    generator = np.random.default_rng(0)
    (root / "input").mkdir()
    (root / "label").mkdir()
    for name, n in (("train", 5), ("valid", 3), ("test", 4)):
        pixels = generator.integers(0, 256, (n, side**2))
        (root / f"input/{name}.src").write_text("\n".join(" ".join(map(str, row)) for row in pixels) + "\n")
        (root / f"label/{name}.label").write_text("\n".join(str(i % n_classes) for i in range(n)) + "\n")


def write_pathfinder(root, side=32, n=30):
    from PIL import Image

    folder = root / f"pathfinder{side}" / "curv_contour_length_14"
    (folder / "metadata").mkdir(parents=True)
    (folder / "imgs/0").mkdir(parents=True)
    lines = []
    for i in range(n):
        Image.fromarray(np.full((side, side), i, np.uint8)).save(folder / f"imgs/0/sample_{i}.png")
        lines.append(f"imgs/0 sample_{i}.png {i} {i % 2} 1 2 3")
    (folder / "metadata/0.npy").write_text("\n".join(lines))


def write_wave(path, samples, rate=16_000):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())


def write_speech(root, words, n=10):
    for label, word in enumerate(words):
        (root / word).mkdir()
        for i in range(n):
            write_wave(root / word / f"{i}_nohash_0.wav", np.full(16_000, 100 * label + i))
        write_wave(root / word / "short_nohash_0.wav", np.zeros(9_000))
