do $demote$
declare
    statement text;
begin
    if exists (select from pg_roles where oid = 10 and rolname = 'panopticon') then
        create role panopticon_upgrade superuser;
        -- A session cannot rename itself.
        set local session authorization panopticon_upgrade;
        alter role panopticon rename to panopticon_superuser;
        -- In a single-user backend there is no name to reset this to.
        set local session authorization panopticon_superuser;
        drop role panopticon_upgrade;
    end if;
    if not exists (select from pg_roles where rolname = 'panopticon') then
        create role panopticon;
    end if;
    alter role panopticon_superuser password ':superuser_password';
    alter role panopticon nosuperuser login createdb password ':role_password';
    grant pg_monitor to panopticon;
    for statement in
        select format('alter database %I owner to panopticon', datname)
        from pg_database
        where datdba = 10 and datname not in ('postgres', 'template0', 'template1')
    loop
        execute statement;
    end loop;
end
$demote$
