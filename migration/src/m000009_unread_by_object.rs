//! One index of unread entries instead of two: by what they are about, and then by whose they are. What many are told at once stands
//! together in it, where an index that begins with the owner would touch a page for each of them.

use sea_orm_migration::prelude::*;

use super::index;

/// The state of an entry that was neither read nor withdrawn.
const UNREAD: i64 = 0;

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    for name in ["inbox_entries_group", "inbox_entries_object"] {
        manager.drop_index(Index::drop().name(name).table("inbox_entries").to_owned()).await?;
    }
    let unread = index("inbox_entries_unread", "inbox_entries", &["post", "comment", "owner"]).and_where(Expr::col("state").eq(UNREAD)).take();
    manager.create_index(unread).await
}
