"""Tables of papers on any data set, pages of exported models, and what shows them."""
