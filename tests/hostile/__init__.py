"""A grammar of hostile files and hostile typing: each number is one case, drawn from a seed of that number.

`words` draws what stands in a file, `folders` spoils run folders, `sources` and `archives` make data and folders of
configuration files, `typing` draws command lines, `surroundings` what lies around, `streams` terminals; `drive` tries
cases, each in a fork of one warm process, `watch` sees what it does, and `judge` what it says and writes.
"""
