-- From where on the next refresh reads a source's topic: what lies before is of closed days.
CREATE TABLE IF NOT EXISTS refresh_positions (
    topic VARCHAR(249) NOT NULL COMMENT 'Kafka topic of a source',
    partition_number INT NOT NULL COMMENT 'Its partition',
    next_offset BIGINT NOT NULL COMMENT 'First offset that may hold a fact of an open day',
    ds CHAR(10) NOT NULL COMMENT 'Newest closed day when this was noted, UTC',
    PRIMARY KEY (topic, partition_number)
) CHARACTER SET utf8mb4 COMMENT 'How far each source topic holds closed days only'
