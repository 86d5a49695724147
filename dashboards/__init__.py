"""What a person looks at: the report of a study as a document, and the live board. Reads what is stored, no more."""
