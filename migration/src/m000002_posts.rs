//! Posts and what hangs on them.

use sea_orm_migration::prelude::*;

use super::{clustered, flag, index, keyed, number, number_or_null, text};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let posts = keyed("posts", "post")
        .col(number("author"))
        .col(text("body"))
        .col(number("revision"))
        .col(number_or_null("edited_at"))
        .col(flag("deleted"))
        .take();
    manager.create_table(posts).await?;
    let counters = keyed("post_counters", "post").col(number("likes")).col(number("comments")).col(number("position")).take();
    manager.create_table(counters).await?;
    // No index by user: the likes of a post are listed in the order of the key.
    manager.create_table(clustered(manager, "post_likes", ["post", "user"]).col(flag("liked")).col(number("position")).take()).await?;
    let subscriptions = clustered(manager, "subscriptions", ["post", "user"]).col(number("mode")).col(number("position")).take();
    manager.create_table(subscriptions).await?;
    let comments = keyed("comments", "comment")
        .col(number("post"))
        .col(number("author"))
        .col(number_or_null("parent"))
        .col(text("body"))
        .col(number("revision"))
        .col(number_or_null("edited_at"))
        .col(flag("deleted"))
        .col(flag("answered"))
        .take();
    manager.create_table(comments).await?;
    manager.create_index(index("comments_post", "comments", &["post", "comment"])).await?;
    let likes = clustered(manager, "comment_likes", ["comment", "user"]).col(flag("liked")).col(number("position")).take();
    manager.create_table(likes).await?;
    manager.create_table(keyed("comment_counters", "comment").col(number("likes")).take()).await
}
