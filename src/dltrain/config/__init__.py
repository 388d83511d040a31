"""From what is typed to a checked plan, and from a plan to objects: choices, compose, policy, checks, plan, build.

Hydra and OmegaConf are known to `hydra` alone. This room may import `runs` and what stands before it.
"""
