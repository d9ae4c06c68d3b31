select id, source_id, is_escaped
from "odd ""name"""
where id = any($1);
