-- Up to when the day after the closed day `ds` has been complete already.
SELECT MAX(complete_through) FROM refresh_log WHERE layer = %(layer)s AND ds = %(ds)s
