//! How far a shard is complete: what the journal may give back.

use sea_orm_migration::prelude::*;

use super::number_or_null;

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // Not known of a shard of an earlier release: it is entered at the next start.
    let added = Table::alter().table("shard").add_column(number_or_null("complete_to")).take();
    manager.alter_table(added).await
}
