drop table "odd ""name""";
