"""Tests of the web page and of its HTTP interface."""
