-- Quality of candidates, champions and rivals on the test days of each training run, newest first
SELECT ds, run_id, role, model_id, from_ds, to_ds, rows, {figures}, time
FROM {database}.model_quality WHERE split = 'test' ORDER BY time DESC, role
