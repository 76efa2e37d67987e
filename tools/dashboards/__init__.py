"""Own what the dashboards show, in Python; `tools/generate_dashboards.py` writes them for Grafana."""
