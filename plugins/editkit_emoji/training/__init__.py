"""Training of the bundled models: data, autoencoder, denoiser, evaluation (needs the extra ``editkit[train]``)."""
