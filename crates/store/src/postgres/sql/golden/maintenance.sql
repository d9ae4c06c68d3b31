vacuum (analyze, index_cleanup on, parallel 0) "odd ""name""";
reindex index concurrently "odd ""name""";
set vacuum_cost_delay = '2ms';
set vacuum_cost_limit = 200;
select set_config(name, '0', false)
from unnest(array['statement_timeout', 'transaction_timeout']) as name
where current_setting(name, true) <> '0';
alter table "odd ""name""" alter column "a ""column""" set statistics 500;
alter index "odd ""name""" alter column 1 set statistics 500;
