"""How fast the product is, beside what bounds it and what else one might take."""
