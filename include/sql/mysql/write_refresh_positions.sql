REPLACE INTO refresh_positions (topic, partition_number, next_offset, ds)
VALUES (%(topic)s, %(partition)s, %(offset)s, %(ds)s)
