"""Files of rows, read whole or in pieces, and their columns and targets as numbers.

What is fitted on the train rows is plain JSON. It may import `data` and `errors`.
"""
