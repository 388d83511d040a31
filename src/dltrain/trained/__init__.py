"""A run that is loaded: to judge it, to predict with it, to export it. Nothing here changes a run's weights.

It may import `training` and what stands before it.
"""
