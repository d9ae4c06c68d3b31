select id
from "odd ""name"""
where migration_run = $1
    and ("no ""te" is not null
        or ("state" is not null and to_jsonb("state") is distinct from to_jsonb(('new'::character varying)::character varying(9))))
order by id;
