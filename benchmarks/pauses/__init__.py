"""Endpointing: how often a pause is taken for the end of a turn, against how long an end waits.

`sentences.txt` and `afterthoughts.txt` are what is said; `sentences.py` draws who says it and with
what pauses, `voice.py` and `speech.py` speak it, `hearing.py` hears it, `calls.py` takes the turns
in virtual time, `tally.py` counts; `contest.py` runs the contenders of `policies.py`, and
`report.py` prints. Its `main` needs no server.
"""
