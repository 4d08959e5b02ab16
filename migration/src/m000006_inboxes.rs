//! Who was told what: `inbox_entries`, `inbox_states`, `inbox_windows`, `inbox_window_actors`, `notice_cursors`, `preferences`, and how far
//! the lanes' events were told.

use sea_orm_migration::prelude::*;

use super::{bytes, clustered, index, keyed, number, number_or_null};

/// The state of an entry that was neither read nor withdrawn: only those are looked for by what they are about.
const UNREAD: i64 = 0;

pub(super) async fn up(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let notified = Table::alter().table("lanes").add_column(number("notified").default(0)).take();
    manager.alter_table(notified).await?;
    // What was relayed before there were inboxes has no event rows any more.
    let begun = Query::update().table("lanes").value("notified", Expr::col("relayed")).take();
    manager.execute(begun).await?;

    let entries = clustered(manager, "inbox_entries", ["owner", "seq"])
        .col(number("id"))
        .col(number("kind"))
        .col(number("target_kind"))
        .col(number("target"))
        .col(number("actor"))
        .col(bytes("actors"))
        .col(number("people"))
        .col(number_or_null("post"))
        .col(number_or_null("comment"))
        .col(number("created_at"))
        .col(number("state"))
        .take();
    manager.create_table(entries).await?;
    for (name, columns) in [
        ("inbox_entries_group", ["owner", "kind", "target_kind", "target"].as_slice()),
        ("inbox_entries_object", ["post", "comment"].as_slice()),
    ] {
        let unread = index(name, "inbox_entries", columns).and_where(Expr::col("state").eq(UNREAD)).take();
        manager.create_index(unread).await?;
    }
    let states =
        keyed("inbox_states", "owner").col(number("seq")).col(number("min_seq")).col(number("unread")).col(number("read_up_to")).take();
    manager.create_table(states).await?;
    let windows = clustered(manager, "inbox_windows", ["owner", "kind", "target_kind", "target"])
        .col(number_or_null("post"))
        .col(number_or_null("comment"))
        .col(number("people"))
        .col(number("stage"))
        .col(number("due_at"))
        .take();
    manager.create_table(windows).await?;
    manager.create_index(index("inbox_windows_due", "inbox_windows", &["due_at"])).await?;
    manager.create_index(index("inbox_windows_object", "inbox_windows", &["post", "comment"])).await?;
    let actors =
        clustered(manager, "inbox_window_actors", ["owner", "kind", "target_kind", "target", "actor"]).col(number("position")).take();
    manager.create_table(actors).await?;
    let cursors = clustered(manager, "notice_cursors", ["source_shard", "source_lane"])
        .col(number("position"))
        .col(number("last_recipient"))
        .take();
    manager.create_table(cursors).await?;
    manager.create_table(keyed("preferences", "user").col(bytes("payload")).col(number("position")).take()).await
}
