"""Shared parts of all training runs: schedule of the rate, averaging, checkpoints, the log."""

from __future__ import annotations

import argparse
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from editkit_emoji.training.muon import Muon

Network = TypeVar("Network", bound=nn.Module)
SAVED_EVERY = 300
"""Seconds between two checkpoints."""


def add_run_options(
    parser: argparse.ArgumentParser, *, steps: int, batch: int, rate: float, decay: float = 0.999
) -> None:
    parser.add_argument("--run", type=Path, required=True, help="folder of this run: log, samples, checkpoint, weights")
    parser.add_argument("--steps", type=int, default=steps, help="optimiser steps, including those before a restart")
    parser.add_argument(
        "--minutes",
        type=float,
        metavar="M",
        help="end after so long instead of after --steps, with the same schedule",
    )
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--rate", type=float, default=rate, help="highest learning rate")
    parser.add_argument(
        "--steady", type=float, default=0.0, help="share of the run at the highest rate, before the decay"
    )
    parser.add_argument("--decay", type=float, default=decay, help="decay of the averaged weights per step")
    parser.add_argument("--inspections", type=int, default=10, help="number of inspections in a run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")


def on_cpu(generator: torch.Generator) -> torch.Generator:
    """Return a generator itself, or one of the same seed for batches that are sampled on the CPU beside a GPU."""
    return generator if generator.device.type == "cpu" else torch.Generator().manual_seed(generator.initial_seed())


class Run(Generic[Network]):
    """A resumable loop over optimiser steps: warm-up and cosine, clipped gradients, averaged weights.

    ``matrices`` are trained by Muon, all other weights by AdamW. ``average`` holds the exponential average of the
    weights, which a run exports. The checkpoint is written atomically every few minutes and on SIGTERM; the same
    command resumes from it.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        network: Network,
        *,
        matrices: Sequence[nn.Parameter] = (),
        warm_up: int = 200,
    ) -> None:
        torch.set_num_threads(options.threads)
        self.options = options
        self.network = network
        average = get_ema_multi_avg_fn(options.decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(network, multi_avg_fn=average)
        muon_ids = {id(weight) for weight in matrices}
        others = [weight for weight in network.parameters() if weight.requires_grad and id(weight) not in muon_ids]
        self.optimisers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(others, lr=options.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
            *([Muon(matrices, lr=options.rate)] if matrices else []),
        ]
        self.warm_up = warm_up
        self.step = 0
        self.seconds = 0.0
        self.saved = time.monotonic()
        self.stopping = False
        options.run.mkdir(parents=True, exist_ok=True)
        self.checkpoint = options.run / "checkpoint.pt"
        if self.checkpoint.exists():
            self.restore()

    @property
    def averaged(self) -> Network:
        return cast(Network, self.average.module)

    @property
    def progress(self) -> float:
        """Share of the run that is done, by steps or by time."""
        if self.options.minutes:
            return min(1.0, self.seconds / 60 / float(self.options.minutes))
        return self.step / int(self.options.steps)

    def rate(self) -> float:
        """Learning rate: linear warm-up, constant for a share of the run, then half a cosine to zero at the end."""
        rising = min(1.0, (self.step + 1) / self.warm_up)
        steady: float = self.options.steady
        fallen = max(0.0, self.progress - steady) / (1 - steady)
        highest: float = self.options.rate
        return highest * rising * 0.5 * (1 + math.cos(math.pi * fallen))

    def train(
        self, loss_of: Callable[[torch.Generator], torch.Tensor], inspect: Callable[[], dict[str, float]]
    ) -> None:
        """Minimise ``loss_of``; write the checkpoint and log the result of ``inspect`` several times per run."""
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "stopping", True))
        inspections: int = self.options.inspections
        done = int(self.progress * inspections)
        total = None if self.options.minutes else self.options.steps
        for loss in tqdm(self.losses(loss_of), total=total, initial=self.step, mininterval=10):
            if self.step % 100 == 0:
                self.log(loss=float(loss))
            if int(self.progress * inspections) > done:
                done = int(self.progress * inspections)
                self.save()
                self.log(**inspect())
            elif self.stopping or time.monotonic() - self.saved > SAVED_EVERY:
                self.save()
            if self.stopping:
                break

    def losses(self, loss_of: Callable[[torch.Generator], torch.Tensor]) -> Iterator[torch.Tensor]:
        """Yield the average loss after each step, on the device: reading it would wait for a GPU."""
        mean: torch.Tensor | None = None
        last = time.perf_counter()
        while self.progress < 1:
            for optimiser in self.optimisers:
                for group in optimiser.param_groups:
                    group["lr"] = self.rate()
            # One generator per step, so that a resumed run uses the same random numbers as an uninterrupted one.
            seed = self.options.seed * 1_000_003 + self.step
            loss = loss_of(torch.Generator(self.options.device).manual_seed(seed))
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            for optimiser in self.optimisers:
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
            self.average.update_parameters(self.network)
            self.step += 1
            now = time.perf_counter()
            self.seconds, last = self.seconds + now - last, now
            mean = loss.detach() if mean is None else mean.lerp(loss.detach(), 0.02)
            yield mean

    def log(self, **figures: float) -> None:
        line = {"step": self.step, "minutes": round(self.seconds / 60, 2)}
        line |= {name: round(value, 5) for name, value in figures.items()}
        with (self.options.run / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def save(self) -> None:
        state = {"step": self.step, "seconds": self.seconds, "network": self.network.state_dict()}
        state["average"] = self.average.state_dict()
        state["optimisers"] = [optimiser.state_dict() for optimiser in self.optimisers]
        partial = self.checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.rename(self.checkpoint)
        self.saved = time.monotonic()

    def restore(self) -> None:
        state = torch.load(self.checkpoint, map_location=self.options.device, weights_only=True)
        self.step, self.seconds = state["step"], state["seconds"]
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        for optimiser, saved_state in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved_state)
