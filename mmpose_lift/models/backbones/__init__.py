"""Backbones, one paper per file."""

from .mixste import MixSTE

__all__ = ['MixSTE']
