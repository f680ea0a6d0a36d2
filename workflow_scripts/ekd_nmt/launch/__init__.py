"""Training on several GPUs: one process a GPU, started by torchrun."""
