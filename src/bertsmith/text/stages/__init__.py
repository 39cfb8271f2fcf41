"""`prepare` in stages, each of units that can be made anywhere and made again: read, clean, duplicates, (tokenizer), encode, (write).

A unit is a folder that appears whole, with a manifest of its files; what one needs to know stands in the work folder (plan.py), so that a
process, a job of a cluster or a task of Ray makes it knowing that folder and a number.  The order of units is that of the text, and a store is
filled from them in that order: its bytes are those of a pass in one process (prepare.py), whoever made the units.
"""
