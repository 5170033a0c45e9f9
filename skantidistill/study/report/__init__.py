"""Put the rows of a study into words, tables, figures, and a page that holds them all."""
