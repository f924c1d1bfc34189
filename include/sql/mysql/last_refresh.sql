SELECT MAX(as_of) AS last_refresh FROM refresh_log
