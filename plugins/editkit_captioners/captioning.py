"""Captions by the image-to-text models of transformers that need nothing but a picture."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer
from transformers.utils import logging

from editkit import PluginFailure, WeightsUnavailable

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
"""What is downloaded: configuration, vocabularies and weights, no pickles and no code."""
ADVICE = "give the folder or the hub id of a captioning model such as Salesforce/blip-image-captioning-base"


def captioning_model(name: str, max_tokens: int) -> Callable[[Image.Image], str]:
    """Load a model and return what captions a picture in at most ``max_tokens`` tokens, the same ones every time.

    Only safetensors are read and no code that comes with a model is run. Raises WeightsUnavailable where the model
    cannot be loaded; the captioner raises PluginFailure where it needs more than a picture.
    """
    processor, tokenizer, model = load(name)

    def caption(picture: Image.Image) -> str:
        try:
            with quiet():
                pixels = processor(images=on_white(picture), return_tensors="pt")["pixel_values"]
                tokens = model.generate(
                    pixel_values=pixels.to(model.device), max_new_tokens=max_tokens, do_sample=False
                )
        except Exception as error:  # models that answer prompts fail in ways of their own without one
            raise PluginFailure(
                f"captioning model {name!r} ({model.config.model_type}) failed at a picture of "
                f"{picture.width} x {picture.height} pixels ({said(error)}): it may need a prompt; {ADVICE}"
            ) from error
        return " ".join(tokenizer.decode(tokens[0], skip_special_tokens=True).split())

    return caption


def on_white(picture: Image.Image) -> Image.Image:
    """RGB; what is transparent shows white, as on paper."""
    opaque = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")


@functools.lru_cache(maxsize=1)
def load(name: str) -> tuple[Any, Any, Any]:
    """The image processor, the tokenizer and the model, on the GPU where there is one; the last are kept."""
    folder = folder_of(name)
    check_weights(folder)
    safely = {"local_files_only": True, "trust_remote_code": False}
    try:
        with quiet():
            processor = AutoImageProcessor.from_pretrained(folder, **safely)
            tokenizer = AutoTokenizer.from_pretrained(folder, **safely)
            model = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **safely)
    except Exception as error:  # of transformers, or of a library that a processor needs
        raise WeightsUnavailable(
            f"captioning model {name!r} cannot be loaded from {folder} ({said(error)}): {ADVICE}"
        ) from error
    return processor, tokenizer, model.eval().to("cuda" if torch.cuda.is_available() else "cpu")


def folder_of(name: str) -> Path:
    """The folder of a model, downloaded where it is a hub id that is not here yet."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise WeightsUnavailable(f"captioning model {name!r} is a file: give the folder it belongs to")
    if not HUB_ID.fullmatch(name):
        raise WeightsUnavailable(
            f"captioning model {name!r} is neither a folder nor a hub id 'org/name': check the path"
        )
    try:
        return Path(snapshot_download(name, allow_patterns=FILES))
    except Exception as error:  # the hub's client raises many kinds, of several libraries
        raise WeightsUnavailable(
            f"captioning model {name!r} is no folder here and could not be fetched from the hub ({said(error)}): check "
            "the name and the network, or download it and pass its folder"
        ) from error


def check_weights(folder: Path) -> None:
    """Refuse a folder without configuration, without safetensors, or whose shards are not in it."""
    if not (folder / "config.json").is_file():
        raise WeightsUnavailable(f"captioning model {folder} has no config.json: {ADVICE}")
    if not any(folder.glob("*.safetensors")):
        pickles = sorted(file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".ckpt"))
        problem = "no *.safetensors weights: download it again"
        if pickles:
            problem = (
                f"only pickled weights ({pickles[0]}), which can run code when loaded: convert them to safetensors"
            )
        raise WeightsUnavailable(f"captioning model {folder} has {problem}, or {ADVICE}")
    for index in folder.glob("*.safetensors.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise WeightsUnavailable(f"{index} cannot be read ({said(error)}): download the model again") from error
        for shard in shards:
            if Path(shard).name != shard or not (folder / shard).is_file():
                raise WeightsUnavailable(f"{index} names the shard {shard!r}, which is not in its folder")


def said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's remarks and loading bars off the terminal."""
    verbosity, shown = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
