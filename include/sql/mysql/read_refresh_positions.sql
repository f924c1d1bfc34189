-- A position that was noted when later days were closed would skip facts of days that are open again.
SELECT topic, partition_number, next_offset FROM refresh_positions WHERE ds <= %(ds)s
