drop table if exists "odd ""name""";
