"""From what is typed to a checked plan, and from a plan to objects: choices, compose, policy, plan, build.

Hydra is known here alone, but for two files of `training` and the command line.
"""
