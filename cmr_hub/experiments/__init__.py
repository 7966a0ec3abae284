"""Experiments over trained methods: reproduce, ablate, sweep, tables, figures, publishing and preparing."""
