-- name: notify
-- A hint without a payload, to a channel of `Hint`; identical ones of one transaction are one.
select pg_notify($1, '')
