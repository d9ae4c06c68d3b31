alter index "new" rename to "odd ""name""";
