"""dltrain: train PyTorch models from the command line; every experiment is a Hydra YAML file."""

__version__ = "0.1.0"
