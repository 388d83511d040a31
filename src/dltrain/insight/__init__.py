"""What a person should see: the doctor, a step in numbers, dreams, comparisons, tables, pictures and the page.

It reads runs, may train in memory, and writes nothing into a run but its pictures and its page. It may import all but
`commands`.
"""
