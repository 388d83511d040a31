"""The kinds of step: without autograd, compiled, as a CUDA graph, of many evaluations; and the memory they work in.

`trainer` chooses one. They may import `parts`, `data` and `errors`.
"""
