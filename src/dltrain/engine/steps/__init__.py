"""The kinds of step, behind one face (`step`): plain, direct, compiled, a CUDA graph; and the memory they work in.

`engine.choice` takes one. They may import `parts`, `data` and `errors`.
"""
