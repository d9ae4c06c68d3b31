alter database "new" rename to "odd ""name""";
