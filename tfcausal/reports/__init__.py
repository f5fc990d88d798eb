"""Tables of papers, trained and tuned on any data set, and what shows them."""
