-- The time of a test: one row. Leases do not look at it.
create table durable.virtual_time (at timestamptz not null);
insert into durable.virtual_time values (statement_timestamp());
create or replace function durable.now() returns timestamptz
    language sql stable parallel safe
    as 'select v.at from durable.virtual_time v';

update durable.virtual_time set at = $1;

select
    exists (
        select from durable.run r
        where r.worker is null and r.status in ('pending', 'waiting') and r.workflow = any($2)
            and r.queue = any($3) and durable.suits($4, r.build, r.unfit)
            and r.due_at <= durable.now()) as due,
    exists (
        select from durable.run r where r.worker = $1 and r.due_at is not null) as mail,
    exists (
        select from durable.run r
        where r.deadline <= durable.now() and r.closed_at is null) as overdue,
    (
        select min(least(
            case when r.worker is null and r.status in ('pending', 'waiting')
                and r.workflow = any($2) and r.queue = any($3)
                and durable.suits($4, r.build, r.unfit) and r.due_at > durable.now()
                then r.due_at end,
            case when r.deadline > durable.now() then r.deadline end))
        from durable.run r
        where r.closed_at is null) as next,
    exists (select from durable.farewell) as farewell;

select r.id, r.waits_for, r.waits_at from durable.run r where r.run = any($1) order by r.run;

drop schema durable cascade
