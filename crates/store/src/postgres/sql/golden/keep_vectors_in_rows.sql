alter table "odd ""name""" alter column embedding set storage main;
