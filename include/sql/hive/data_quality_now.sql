-- The scorecard with the newest value of each source, day and dimension
SELECT ds, source, dimension, MAX_BY(value, time) AS value, MAX(time) AS time
FROM {database}.data_quality GROUP BY ds, source, dimension
