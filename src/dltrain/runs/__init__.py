"""The run folder: what stands in it, its lock, how it is found, read, checked and written.

Every stored file is read by `foreign` and written by `storage`. It may import `engine` and what stands before it.
"""
