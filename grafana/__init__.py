"""Grafana's dashboards, written in Python: `python -m grafana` makes the files in dashboards/ from them."""
