//! The first people of a window stand in its row: most windows hold few, and need no rows of their own for them.

use sea_orm_migration::prelude::*;

use super::bytes;

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // Windows that are open have all their people beside them, which is as good.
    let added = Table::alter().table("inbox_windows").add_column(bytes("first_actors").default(Vec::<u8>::new())).take();
    manager.alter_table(added).await
}
