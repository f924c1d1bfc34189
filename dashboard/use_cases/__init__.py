"""The dashboards of each use case; the only part of `dashboard/` that speaks of a domain."""
