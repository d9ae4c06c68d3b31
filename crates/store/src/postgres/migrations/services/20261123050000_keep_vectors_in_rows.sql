-- Vectors stay in their rows, and where a row is longer than 2 kB its text goes out of line instead: an exact search
-- reads every vector and the texts of a few rows. Holds for rows that are written from now on; those that are there
-- stay as they are until they are rewritten.
--
-- A table that others made may lack the column; what is wrong with it is said once the schema is current.

do $$
declare
    service_table regclass;
begin
    for service_table in
        select attrelid
        from pg_attribute
        join pg_type on pg_type.oid = atttypid
        where attrelid in (to_regclass('queries'), to_regclass('evaluation_metrics'), to_regclass('llm_outputs'))
            and attname = 'embedding'
            and typname = 'vector'
    loop
        execute format('alter table %s alter column embedding set storage main', service_table);
    end loop;
end
$$;
