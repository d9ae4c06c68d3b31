do $demote$
declare
    superuser constant oid = 10;
    first_of_users constant oid = 16384;
    statement text;
begin
    for statement in
        with extension_member as (
            select classid, objid from pg_depend where deptype = 'e'
        ), users_schema as (
            select oid from pg_namespace where nspname not like 'pg\_%' and nspname <> 'information_schema'
        )
        select format('alter schema %I owner to panopticon', nspname)
        from pg_namespace as object
        where nspowner = superuser and object.oid in (select oid from users_schema)
            and (nspname = 'public' or object.oid >= first_of_users)
            and ('pg_namespace'::regclass, object.oid) not in (select classid, objid from extension_member)
        union all
        select format('alter table %s owner to panopticon', object.oid::regclass)
        from pg_class as object
        where relowner = superuser and object.oid >= first_of_users
            and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
            and relnamespace in (select oid from users_schema)
            and ('pg_class'::regclass, object.oid) not in (select classid, objid from extension_member)
            -- A column's sequence follows its table.
            and not (relkind = 'S' and exists (
                select from pg_depend
                where classid = 'pg_class'::regclass and objid = object.oid
                    and refclassid = 'pg_class'::regclass and deptype in ('a', 'i')
            ))
        union all
        select format('alter routine %s owner to panopticon', object.oid::regprocedure)
        from pg_proc as object
        where proowner = superuser and object.oid >= first_of_users
            and pronamespace in (select oid from users_schema)
            and ('pg_proc'::regclass, object.oid) not in (select classid, objid from extension_member)
        union all
        select format('alter type %s owner to panopticon', object.oid::regtype)
        from pg_type as object
        left join pg_class as relation on relation.oid = object.typrelid
        where typowner = superuser and object.oid >= first_of_users
            and (typtype in ('d', 'e', 'r') or relation.relkind = 'c')
            and typnamespace in (select oid from users_schema)
            and ('pg_type'::regclass, object.oid) not in (select classid, objid from extension_member)
    loop
        execute statement;
    end loop;
end
$demote$
