"""The data card: what a prepared data set is, counted. `collect` the figures, then `page` renders them."""
