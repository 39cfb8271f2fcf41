"""Weights by what goes into a matrix (Raffel et al. 2020; Mesh TensorFlow's layers), and tables within a range."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from bertsmith.nn.modules.attending import Attention, SourceAttention
from bertsmith.nn.modules.buckets import BucketPosition
from bertsmith.nn.modules.drawn import cut_normal
from bertsmith.nn.modules.embeddings import Embeddings


@torch.no_grad()
def begin_by_width(body: nn.Module) -> nn.Module:
    config: Any = body.config
    std = math.sqrt(2 / (5 * config.width))
    for part in body.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            cut_normal(part.weight, 2 * std, std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
    for name, weight in body.named_parameters():
        _, found, rest = name.partition("layers.")
        if found and ".feedforward." in name and weight.ndim > 1:
            weight.mul_((2 * (int(rest.partition(".")[0]) + 1)) ** -0.5)
    return body


@torch.no_grad()
def begin_by_fan_in(body: nn.Module) -> nn.Module:
    for part in body.modules():
        if isinstance(part, nn.Linear):
            part.weight.normal_(std=part.in_features**-0.5)
            if part.bias is not None:
                part.bias.zero_()
    width = next(part for part in body.modules() if isinstance(part, Attention)).qkv.in_features
    for part in body.modules():
        if isinstance(part, Embeddings):
            part.tokens.weight.normal_()
        elif isinstance(part, BucketPosition):
            part.table.weight.normal_(std=width**-0.5)
        elif isinstance(part, Attention):
            part.qkv.weight[: part.inner].mul_((part.inner // part.heads) ** -0.5)
        elif isinstance(part, SourceAttention):
            part.q.weight.mul_((part.q.out_features // part.heads) ** -0.5)
    return body


def begin_tables(body: nn.Module, within: float) -> nn.Module:
    for part in body.modules():
        if isinstance(part, nn.Embedding):
            nn.init.uniform_(part.weight, -within, within)
    return body
