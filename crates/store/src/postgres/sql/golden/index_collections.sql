create index on "odd ""name""" ("collection");
create index on "odd ""name""" (migration_run);
