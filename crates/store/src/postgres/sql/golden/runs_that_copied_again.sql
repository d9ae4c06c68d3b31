select distinct migration_run
from "odd ""name"""
where migration_run is not null and id in (
    select id
    from migration_replaced
    where run_id = $1 and table_name = $2 and change = 'deleted'
);
