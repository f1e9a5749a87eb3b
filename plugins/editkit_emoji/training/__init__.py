"""How the bundled model is made: data, autoencoder, denoiser, evaluation (needs the extra ``editkit[train]``)."""
