//! The schema, as migrations that only go forward.
