"""The reliability campaigns: each injects one kind of fault many times, and has controls that it must notice.

`python -m tests.campaign NAME` runs one of them and writes its figures to docs/reliability.md; test_campaigns.py runs
the short form of each.
"""
