"""Files: whole or not at all, locked, taken to the last bit, and none where others' links lead.

May import: nothing of ours.
"""
