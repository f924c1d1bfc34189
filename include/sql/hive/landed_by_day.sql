-- What came in of each source and day, and where it went; shares of what landed
SELECT ds, source, landed, ingested, quarantined, duplicate, closed,
  try_divide(quarantined, landed) AS quarantined_share
FROM {database}.book WHERE stage = 'ingest'
