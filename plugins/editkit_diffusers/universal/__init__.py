"""Backend of last resort: any image pipeline of diffusers, one call of the pipeline for each estimate."""
