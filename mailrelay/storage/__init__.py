"""The only SQL: database, tables, migrations, one module per store."""
