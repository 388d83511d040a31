"""Where data come from, a file each: toy sets, scikit-learn's, official image sets, folders of images, tables, own
Datasets. A source is a function that returns a `Data`; configs/data/ names them. It may import `data` and `errors`.
"""
