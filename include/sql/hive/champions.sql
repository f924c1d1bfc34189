-- Which model served from when to when; the last line has no end
SELECT sequence, model_id, event, time AS from_time, LEAD(time) OVER (ORDER BY sequence) AS to_time, actor, reason
FROM {database}.ledger
