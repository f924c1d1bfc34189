-- The statistics as of the newest day that has any
SELECT * FROM {database}.statistics WHERE ds = (SELECT MAX(ds) FROM {database}.statistics)
