//! The index of unread entries begins with the comment that an entry is about, or with the post where there is none, or with 0. What is told is mostly about
//! something new, and ids grow with time: so new lines go to the index's end, where those before (the post came first) went to a page anywhere.

use sea_orm_migration::prelude::*;

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.drop_index(Index::drop().name("inbox_entries_unread").table("inbox_entries").to_owned()).await?;
    // An expression is said alike by both databases, and by no builder.
    let unread = "CREATE INDEX inbox_entries_unread ON inbox_entries (COALESCE(comment, post, 0), owner) WHERE state = 0";
    manager.get_connection().execute_unprepared(unread).await?;
    Ok(())
}
