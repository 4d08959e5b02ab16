//! Who the shard is, its lanes, and what they did: `shard`, `lanes`, `relay_cursors`, `events`, `dead_letters`.

use sea_orm_migration::prelude::*;

use super::{bytes, clustered, index, keyed, number, number_or_null, text, text_or_null};

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    manager.create_table(keyed("shard", "id").col(text_or_null("journal")).col(text_or_null("shard_name")).take()).await?;
    manager.create_table(keyed("lanes", "lane").col(number("applied")).col(number("relayed")).take()).await?;
    let cursors = clustered(manager, "relay_cursors", ["source_shard", "source_lane"]).col(number("position")).take();
    manager.create_table(cursors).await?;
    manager.create_table(clustered(manager, "events", ["lane", "position"]).col(bytes("payload")).take()).await?;
    let dead_letters = keyed("dead_letters", "write")
        .col(number_or_null("author"))
        .col(number("lane"))
        .col(number("position"))
        .col(bytes("entry"))
        .col(text("error"))
        .col(number("died_at"))
        .take();
    manager.create_table(dead_letters).await?;
    manager.create_index(index("dead_letters_author", "dead_letters", &["author"])).await
}
