SELECT table_name AS name, column_name AS col FROM information_schema.columns WHERE table_schema = DATABASE()
