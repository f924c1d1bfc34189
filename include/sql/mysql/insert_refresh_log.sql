-- One line per table; a run that is repeated replaces its lines.
REPLACE INTO refresh_log (run_id, table_name, row_count, seconds, complete_through, as_of, layer, ds)
VALUES (%(run_id)s, %(table_name)s, %(row_count)s, %(seconds)s, %(complete_through)s, %(as_of)s, %(layer)s, %(ds)s)
