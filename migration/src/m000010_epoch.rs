//! The epoch of a shard: raised each time another primary takes over, so that the one before is told from it.

use sea_orm_migration::prelude::*;

use super::number;

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let added = Table::alter().table("shard").add_column(number("epoch").default(1)).take();
    manager.alter_table(added).await
}
