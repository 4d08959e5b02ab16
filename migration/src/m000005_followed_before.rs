//! Whether one side of a pair has ever followed the other: a follow set again tells nobody a second time.

use sea_orm_migration::prelude::*;

use super::flag;

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // One column a statement: SQLite takes no more. Follows that stand are known by themselves; those ended before are forgotten.
    for column in ["has_followed", "was_followed"] {
        let added = Table::alter().table("relations").add_column(flag(column).default(false)).take();
        manager.alter_table(added).await?;
    }
    Ok(())
}
