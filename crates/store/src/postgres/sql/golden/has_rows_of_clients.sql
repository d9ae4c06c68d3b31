select exists (select from "odd ""name""" where migration_run is null);
