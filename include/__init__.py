"""What is computed: contracts, tiles, features, Spark jobs and training.

Nothing below this package imports Airflow; it runs the same from a DAG, a shell or a notebook.
"""
