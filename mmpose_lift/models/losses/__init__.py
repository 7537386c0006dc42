"""Losses, one file per family."""

from .sequence_loss import MixSTELoss

__all__ = ['MixSTELoss']
