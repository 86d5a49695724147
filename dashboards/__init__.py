"""What a person looks at: the report of a sweep as a document, and the live board. Only reads what is stored."""
