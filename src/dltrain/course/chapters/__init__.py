"""The chapters: the words and commands of each in NAME.yaml, and in NAME.py what is seen in what they made."""
