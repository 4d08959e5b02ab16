//! Users' sides of pairs, the index of their posts, and what is kept of their writes.

use sea_orm_migration::prelude::*;

use super::{bytes, clustered, flag, index, keyed, number, number_or_null, text_or_null};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let relations = clustered(manager, "relations", ["owner", "other"])
        .col(number_or_null("following_since"))
        .col(number_or_null("following_notify"))
        .col(number_or_null("followed_since"))
        .col(number_or_null("followed_notify"))
        .col(flag("blocking"))
        .col(flag("blocked_by"))
        .col(number("position"))
        .take();
    manager.create_table(relations).await?;
    // Partial: most rows stand for one direction only, and hardly any for a block.
    for (name, column) in [("relations_following", "following_since"), ("relations_followed", "followed_since")] {
        let lists = index(name, "relations", &["owner", column]).and_where(Expr::col(column).is_not_null()).take();
        manager.create_index(lists).await?;
    }
    for (name, column) in [("relations_blocking", "blocking"), ("relations_blocked_by", "blocked_by")] {
        manager.create_index(index(name, "relations", &["owner", column, "other"]).and_where(Expr::col(column)).take()).await?;
    }
    manager.create_table(clustered(manager, "mutes", ["owner", "other"]).col(flag("muting")).col(number("position")).take()).await?;
    let author_posts = clustered(manager, "author_posts", ["author", "post"]).col(flag("deleted")).col(number("position")).take();
    manager.create_table(author_posts).await?;
    let counters = keyed("user_counters", "user").col(number("posts")).col(number("followers")).col(number("following")).take();
    manager.create_table(counters).await?;
    let kept_writes = keyed("kept_writes", "write")
        .col(number("author"))
        .col(text_or_null("key"))
        .col(number("kept_until"))
        .col(bytes("payload"))
        .take();
    manager.create_table(kept_writes).await?;
    // Not unique: a key may come again after its 24 hours, before the old write was purged.
    let keys = index("kept_writes_key", "kept_writes", &["author", "key", "write"]).and_where(Expr::col("key").is_not_null()).take();
    manager.create_index(keys).await?;
    manager.create_index(index("kept_writes_until", "kept_writes", &["kept_until"])).await
}
