-- Held by the connection: a refresh that dies gives it back.
SELECT GET_LOCK(%(name)s, %(seconds)s)
