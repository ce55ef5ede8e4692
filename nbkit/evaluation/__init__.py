"""Judging: exact ranking, metrics, statistics, and the one door to the test split."""
