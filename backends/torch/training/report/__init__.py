"""What finished runs say: tables, pictures and the document that holds them."""
