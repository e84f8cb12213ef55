-- name: notify
-- A hint without a payload; identical ones of one transaction are one.
select pg_notify('durable', '')
