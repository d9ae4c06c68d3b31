select id from "odd ""name""" where migration_run is null;
