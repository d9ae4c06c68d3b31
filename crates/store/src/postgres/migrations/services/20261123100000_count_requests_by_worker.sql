-- Calls are noted before they are sent, and many are at once: each worker counts its own, so that none waits for the run's
-- row. A worker that leaves adds them to the run's.

alter table run_workers add column if not exists requests bigint not null default 0;
