"""Adapters of diffusers models: files of weights that change a model (LoRA and its relatives), and learned words."""
