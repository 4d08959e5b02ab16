//! The tables as SeaORM entities, one file a table.
