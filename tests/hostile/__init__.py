"""A grammar of hostile files and hostile typing: each number is one case, drawn from a seed of that number.

`words` draws what stands in a file, `folders` spoils run folders, `sources` makes data files and folders of
configuration files, `typing` draws command lines; `drive` tries cases, each in a fork of one warm process, and judges.
"""
