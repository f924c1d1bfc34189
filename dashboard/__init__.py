"""The analysts' dashboards as code: what is shown, and Superset's settings and accounts. Knows no address or secret."""
