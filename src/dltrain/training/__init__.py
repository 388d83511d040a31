"""One run from a plan: the visible loop, what it keeps, how it goes on, and the words before and after it; and
estimators for scikit-learn, which train without a run.

`experiment.run` needs no command line. It may import `config` and what stands before it.
"""
