"""What a person looks at: the report of a study as a document. Reads what is stored, writes files only."""
