"""How Airflow reaches the systems: connections, operators, sensors, triggers, assets and links.

It knows Airflow and the systems' protocols. What is computed lies in ``include``; when it runs, in ``dags``.
"""
