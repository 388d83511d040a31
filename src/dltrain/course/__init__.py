"""The companion of a first course in deep learning: its words, and what shows each of them.

Texts and the commands that prove them; what is computed stands in the other rooms. It may import all but `commands`.
"""
