"""Many runs from one command: every combination of what was typed, each in a folder of its own.

It may import `trained` and what stands before it.
"""
