"""Text encoder and UNet as one network, with and without input channels for the latents of an image."""

from __future__ import annotations

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

TEXT_WIDTH = 256
OUTER = ("token_embedding", "position_embedding", "conv_in", "conv_out")
"""Layers at which words and latents enter and leave: optimised by AdamW, not Muon."""


class TextToLatents(nn.Module):
    """Text encoder and UNet as one network with one optimiser and one average."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder
        self.unet = unet

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor, image_latents: Tensor | None = None) -> Tensor:
        """Predict v (B, C, h, w) for noisy latents of the same shape at timesteps (B,), conditioned on tokens (B, L).

        ``image_latents`` (B, C, h, w) fill the image channels of a UNet that has them; None is zeros.
        """
        words = self.text_encoder(tokens).last_hidden_state
        if self.unet.config.in_channels > noisy.shape[1]:
            noisy = torch.cat([noisy, torch.zeros_like(noisy) if image_latents is None else image_latents], 1)
        predicted: Tensor = self.unet(noisy, timesteps, encoder_hidden_states=words).sample
        return predicted


def new_network(tokenizer: PreTrainedTokenizerFast, channels: int, side: int, widths: tuple[int, int]) -> TextToLatents:
    """Return an untrained network for latents (B, channels, side, side)."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=3 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,  # diffusers reads this as the number of heads
        norm_num_groups=16,
    )
    return TextToLatents(CLIPTextModel(text), unet)


def with_image_channels(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Add input channels for the latents of an image to a UNet, with zero weights."""
    return resize_input_layer(unet, 2 * unet.config.in_channels)


def without_image_channels(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Remove the image channels of a UNet, which equals zero image latents."""
    return resize_input_layer(unet, unet.config.in_channels // 2)


def resize_input_layer(unet: UNet2DConditionModel, channels: int) -> UNet2DConditionModel:
    """Copy a UNet with ``channels`` input channels to the CPU; the weights of new channels are zero."""
    resized = UNet2DConditionModel.from_config({**unet.config, "in_channels": channels})
    weights = {name: weight.cpu() for name, weight in unet.state_dict().items()}
    entry = weights["conv_in.weight"].new_zeros(len(weights["conv_in.bias"]), channels, 3, 3)
    kept = min(channels, unet.config.in_channels)
    entry[:, :kept] = weights["conv_in.weight"][:, :kept]
    resized.load_state_dict({**weights, "conv_in.weight": entry})
    return resized
