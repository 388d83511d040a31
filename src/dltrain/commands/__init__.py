"""What is typed: `cli` and one file a command, which reads its words, calls the room that does the work, and prints.

It may import every room, and no other imports it.
"""
