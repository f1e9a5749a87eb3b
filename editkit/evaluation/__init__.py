"""Measure edits on data sets: cases, methods, scores and intervals, which the commands that measure share."""

from ..images.metrics import psnr_of_error
from ..registry.tables import Estimate
from .cases import Case, Dataset
from .estimates import average, bootstrap, gain, mean_of, median, rate, wilson
from .methods import EditMethod
from .opening import open_dataset, open_model
from .round_trip import autoencoder_round_trip
from .scores import TruthScore, decibels, score_against_truth
from .store import EditRecord, EditStore, edit_key

__all__ = [
    "Case",
    "Dataset",
    "EditMethod",
    "EditRecord",
    "EditStore",
    "Estimate",
    "TruthScore",
    "autoencoder_round_trip",
    "average",
    "bootstrap",
    "decibels",
    "edit_key",
    "gain",
    "mean_of",
    "median",
    "open_dataset",
    "open_model",
    "psnr_of_error",
    "rate",
    "score_against_truth",
    "wilson",
]
