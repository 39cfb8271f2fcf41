"""Weights by what goes into a matrix (Raffel et al. 2020; Mesh TensorFlow's layers), and tables within a range."""

from __future__ import annotations

import torch
from torch import nn

from bertsmith.nn.modules.attending import Attention, SourceAttention
from bertsmith.nn.modules.buckets import BucketPosition
from bertsmith.nn.modules.embeddings import Embeddings


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
