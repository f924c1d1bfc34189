-- What each refresh has put into each table. Written after the swap, so that a line says what readers see.
CREATE TABLE IF NOT EXISTS refresh_log (
    run_id VARCHAR(255) NOT NULL COMMENT 'The Airflow run that refreshed',
    table_name VARCHAR(64) NOT NULL COMMENT 'The table that was replaced',
    row_count BIGINT NOT NULL COMMENT 'Rows it has now',
    seconds DOUBLE NOT NULL COMMENT 'Time from the start of the refresh to the swap',
    complete_through DATETIME(6) NOT NULL COMMENT 'Facts are complete up to this moment, UTC',
    as_of DATETIME(6) NOT NULL COMMENT 'When the refresh read the lake, UTC',
    layer VARCHAR(16) NOT NULL COMMENT 'batch or speed',
    ds CHAR(10) NOT NULL COMMENT 'Newest complete day, UTC',
    PRIMARY KEY (run_id, table_name)
) CHARACTER SET utf8mb4 COMMENT 'What each refresh has put into each table'
