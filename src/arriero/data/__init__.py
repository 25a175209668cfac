"""From raw pages to shards: sources, extraction, filters, PII, duplicates, mixture, reader, and the chat domain."""
