"""One run from a plan: the visible loop, what it keeps, how it goes on, and the words before and after it.

`experiment.run` needs no command line. It may import `config` and what stands before it.
"""
