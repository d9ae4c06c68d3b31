select exists(select 1 from only "odd ""schema"""."odd ""name""");
