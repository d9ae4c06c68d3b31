select exists(select from only "odd ""schema"""."odd ""name""");
