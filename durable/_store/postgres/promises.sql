-- name: answer
select run, id, state, status, expected from durable.answer_promise($1, $2, $3, $4, $5)
