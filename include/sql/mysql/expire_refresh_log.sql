-- The store is for recent days, and so is what is told of it.
DELETE FROM refresh_log WHERE as_of < %(before)s
