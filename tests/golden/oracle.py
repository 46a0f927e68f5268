"""A slow, dense SeqBoat layer on the published parameters: loops over rows, queries and kernel taps.

It shares no code with this project, and can do two things as the published code does them: measure windows
over all elements when some row is fully active, and let masked scores of `laplace` leak. With both it
reproduces the published figures; without, it is what this project computes.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def layer(
    config: Mapping[str, Any], p: Mapping[str, Tensor], x: Tensor, mask: Tensor | None, *, as_published: bool
) -> Tensor:
    """`x (B, L, D)` and a mask (True = real) to `(B, L, D)`; what is at padding has no meaning."""
    o = {"truncation": None, "prenorm": True, "local_pos": False, **config["ctor"]}
    o["window"] = o.get("window_size", o.get("chunk_size"))
    ssm = "ssm" if "ssm.omega" in p else "move"
    real = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    h = F.silu(_ema(o, p, ssm, _norm(o, p, x) if o["prenorm"] else x, real))
    mixed = F.linear(h, p["hx_proj.weight"], p["hx_proj.bias"])
    choice = (mixed[..., :2] / p["q_router.temp"].exp()).softmax(-1)
    active = (choice[..., 1] > choice[..., 0]) & real
    if as_published:
        n_slots = int(active.sum(1).max())
        compact = n_slots < x.shape[1]
        rows = [
            _attend(o, p, h[b], active[b], compact, n_slots if compact else x.shape[1]) for b in range(len(x))
        ]
    else:
        rows = [_attend(o, p, h[b], active[b], True, None) for b in range(len(x))]
    y = F.silu(mixed[..., 2:] + choice[..., 1:] * torch.stack(rows) + x)
    return y if o["prenorm"] else _norm(o, p, y)


def _norm(o: Mapping[str, Any], p: Mapping[str, Tensor], x: Tensor) -> Tensor:
    weight, bias = p["norm.norm.weight"], p["norm.norm.bias"]
    if o["norm_type"] == "layernorm":
        mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    else:
        mean, var = p["norm.norm.running_mean"], p["norm.norm.running_var"]
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def _ema(o: Mapping[str, Any], p: Mapping[str, Tensor], name: str, x: Tensor, real: Tensor) -> Tensor:
    length, d_model = x.shape[1:]
    weight = torch.sigmoid(p[f"{name}.delta"])
    decay = 1 - weight * torch.sigmoid(p[f"{name}.alpha"])
    gain = (weight * p[f"{name}.beta"]).squeeze(-1) * p[f"{name}.gamma"] / math.sqrt(o["ndim"])
    seen = x.masked_fill(~real.unsqueeze(-1), 0)
    y = x * p[f"{name}.omega"]
    for j in range(min(o["truncation"] or length, length)):
        tap = (gain * decay.squeeze(-1) ** j).sum(-1)
        y = y + F.pad(tap[:d_model] * seen[:, : length - j], (0, 0, j, 0))
        if o["bidirectional"]:
            y = y + F.pad(tap[d_model:] * seen[:, j:], (0, 0, 0, j))
    return y


def _attend(
    o: Mapping[str, Any],
    p: Mapping[str, Tensor],
    h: Tensor,
    active: Tensor,
    compact: bool,
    n_slots: int | None,
) -> Tensor:
    """One row `(L, D)`. `n_slots`: how long a list the published code attends over; None: no leak."""
    where = active.nonzero().squeeze(1) if compact else torch.arange(len(h))
    inside = F.linear(h[where], p["mx_proj.weight"], p["mx_proj.bias"])
    z, gate, v = F.silu(inside).split([o["zdim"], o["hdim"], o["hdim"]], -1)
    q, k = (_rotate(o, z * p["gamma"][i] + p["beta"][i], where) for i in (0, 1))
    out = torch.zeros_like(h)
    for i in range(len(where)):
        if not active[where[i]]:
            continue
        reach = range(
            max(i - o["window"], 0), min(i + o["window"], len(where) - 1) + 1 if o["bidirectional"] else i + 1
        )
        keys = torch.tensor([j for j in reach if active[where[j]]])
        weight = _activate(o, q[i] @ k[keys].T, i, keys, where, p)
        found = weight @ v[keys]
        if n_slots is not None and o["attention_activation"] == "laplace":
            found = found + _laplace(torch.zeros((), dtype=h.dtype)) * _leaking(o, p, v, keys, i, n_slots)
        out = out.index_put((where[i],), F.linear(found * gate[i], p["h_proj.weight"], p["h_proj.bias"]))
    return out


def _activate(
    o: Mapping[str, Any], product: Tensor, i: int, keys: Tensor, where: Tensor, p: Mapping[str, Tensor]
) -> Tensor:
    scale = (
        math.sqrt(o["zdim"])
        if o["attention_activation"] == "softmax"
        else o["window"] * (1 + o["bidirectional"])
    )
    score = product / scale
    if o["rel_pos_bias"] == "simple":
        table = p["rel_pos_bias.rel_pos_bias"]
        if o["local_pos"]:
            score = score + table[4 * o["window"] - 1 + keys - i]
        else:
            middle = len(table) // 2
            score = score + table[(middle + where[keys] - where[i]).clamp(0, len(table) - 1)]
    return {"softmax": lambda s: s.softmax(-1), "relu2": lambda s: s.relu() ** 2, "laplace": _laplace}[
        o["attention_activation"]
    ](score)


def _laplace(score: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf((score - 0.707107) / (0.282095 * math.sqrt(2))))


def _rotate(o: Mapping[str, Any], z: Tensor, where: Tensor) -> Tensor:
    if o["rel_pos_bias"] != "rotary":
        return z
    angle = where[:, None] * 10000.0 ** (-torch.arange(0, o["zdim"], 2, dtype=z.dtype) / o["zdim"])
    a, b = z[:, ::2], z[:, 1::2]
    return torch.stack((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1).flatten(1)


def _leaking(
    o: Mapping[str, Any], p: Mapping[str, Tensor], v: Tensor, keys: Tensor, i: int, n_slots: int
) -> Tensor:
    """The sum of the values that the published code masks, but gives the weight laplace(0).

    They are what else lies in the blocks of W slots around the query: elements that are inactive, later or
    out of its window, slots of shorter rows (an element of zeros), slots that fill the last block (zeros),
    and blocks beyond both ends (-1).
    """
    window = o["window"]
    empty = F.silu(p["mx_proj.bias"][-o["hdim"] :])
    end = -(-n_slots // window) * window
    first = (i // window - 1) * window
    total = torch.zeros_like(empty)
    for j in range(first, first + (3 if o["bidirectional"] else 2) * window):
        if j in keys:
            continue
        if j < 0 or j >= end:
            total = total - 1
        elif j < len(v):
            total = total + v[j]
        elif j < n_slots:
            total = total + empty
    return total
