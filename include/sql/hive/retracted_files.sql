-- Landing files whose facts are withdrawn: whoever reads raw_<source> leaves out the rows of these landing keys
SELECT source, ds, landing_key, time AS retracted_at, reason, actor, run_id
FROM (
  SELECT *, ROW_NUMBER() OVER (PARTITION BY landing_key ORDER BY time DESC) AS turn FROM {database}.retractions
) newest_first
WHERE turn = 1 AND event = 'retracted'
