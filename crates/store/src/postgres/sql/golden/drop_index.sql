drop index concurrently if exists "odd ""name""";
