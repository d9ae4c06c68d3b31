-- What maintenance has done. Times are UTC.
--
-- table_name  null for what concerns no single table
-- action      vacuum, reindex, index, statistics, expire
-- reason      why, as a sentence
-- before      sizes, dead rows and recall when it began
-- after       the same when it had ended; null while it is under way, or where it failed
-- error       why it failed
-- ended_at    null while it is under way, or where it was ended by force
create table maintenance_actions (
    id uuid not null,
    table_name text,
    action text not null,
    reason text not null,
    before jsonb not null,
    after jsonb,
    error text,
    started_at timestamp not null,
    ended_at timestamp,
    constraint maintenance_actions_pkey primary key (id)
);
create index maintenance_actions_started_at_idx on maintenance_actions (started_at);
