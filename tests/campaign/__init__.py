"""The reliability campaigns: each tries one kind of misfortune many times, and has a control that it must notice.

`python -m tests.campaign NAME` runs one of them and writes its figures to docs/reliability.md; test_campaigns.py runs
the short form of each.
"""
