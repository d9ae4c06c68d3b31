delete from "odd ""name"""
where id in (
    select id from "odd ""name"""
    order by position nulls first, created_at, id
    limit $1
    for update
);
