select count(*)
from "odd ""name""";
