//! Reading inboxes: where one stands, its entries in order, and its groups.

use std::sync::Arc;

use sea_orm::{DbErr, Value};

use crate::vocabulary::Millis;
use crate::vocabulary::entry::{About, EntryState, Group, InboxEntry, InboxLine, InboxState};
use crate::vocabulary::ids::{NotificationId, UserId};

use super::error::StoreError;
use super::inbox::{self, STATE_READ, STATE_WITHDRAWN, Withdrawal, group, read_actors};
use super::line::Line;
use super::snapshot::Snapshot;
use super::values::{comment_or_null, get, number, post_or_null, small, unsigned};

/// All entries of a group as one: the newest one, with the people of all.
pub type GroupedEntry = InboxEntry;

/// A group's entries that are shown, newest first: enough to name the newest people, who may have come in several.
const ENTRIES_OF_GROUP: i64 = 3;

/// The newest entries of each group with sums over all of it. `$2`: groups whose newest entry is before it; `$3`, `$4`: states to leave
/// out; `$5`: no more of each group; `$6`: no more in all; `$7`: entries from it on are left out.
const GROUPED: &str = r#"SELECT kind, target_kind, target, seq, id, actors, post, comment, created_at, total, unread, newest FROM
    (SELECT kind, target_kind, target, seq, id, actors, post, comment, created_at,
        CAST(SUM(people) OVER whole AS BIGINT) AS total,
        CAST(SUM(CASE WHEN state = 0 THEN 1 ELSE 0 END) OVER whole AS BIGINT) AS unread,
        MAX(seq) OVER whole AS newest,
        ROW_NUMBER() OVER (PARTITION BY kind, target_kind, target ORDER BY seq DESC) AS place
        FROM inbox_entries WHERE owner = $1 AND state <> $3 AND state <> $4 AND seq < $7
        WINDOW whole AS (PARTITION BY kind, target_kind, target)) entries
    WHERE place <= $5 AND newest < $2 ORDER BY newest DESC, seq DESC LIMIT $6"#;

impl Snapshot {
    /// Where an inbox stands.
    pub async fn inbox_state(&mut self, recipient: UserId) -> Result<InboxState, StoreError> {
        Ok(inbox::states(&self.link, vec![recipient]).await?.remove(&recipient).unwrap_or_default())
    }

    /// Entries after `after` in their order, withdrawn places included.
    pub async fn inbox_after(&mut self, recipient: UserId, after: u64, limit: u64) -> Result<Vec<InboxEntry>, StoreError> {
        inbox::after(&self.link, recipient, after, limit).await
    }

    /// Entries before `before`, newest first, without withdrawn ones; or only the unread.
    pub async fn inbox_page(
        &mut self,
        recipient: UserId,
        before: Option<u64>,
        unread: bool,
        limit: u64,
    ) -> Result<Vec<InboxEntry>, StoreError> {
        inbox::page(&self.link, recipient, before, unread, limit).await
    }

    /// How many unread entries are about this; no more than `limit` are counted.
    pub async fn inbox_unread_about(&mut self, about: &About, limit: u64) -> Result<u64, StoreError> {
        let query = inbox::unread_of(Withdrawal::About(about), limit);
        Ok(self.link.rows(&query).await?.len() as u64)
    }

    /// Recipients after `after`, in the order of their ids, whose inbox holds more than `entries_max`, or begins before `before`.
    pub async fn inboxes_overfull(
        &mut self,
        after: Option<UserId>,
        before: Millis,
        entries_max: u64,
        limit: u64,
    ) -> Result<Vec<UserId>, StoreError> {
        inbox::overfull(&self.link, after, before, entries_max, limit).await
    }

    /// Groups whose newest entry is before `before`, newest first; or only what is unread of them. Entries from `unshown` on are as if they were
    /// not there. It reads the whole inbox, whose size retention bounds.
    pub async fn inbox_groups(
        &mut self,
        recipient: UserId,
        before: Option<u64>,
        unshown: Option<u64>,
        unread: bool,
        limit: u64,
    ) -> Result<Vec<GroupedEntry>, StoreError> {
        // Of the unread ones: neither withdrawn nor read.
        let left_out = [STATE_WITHDRAWN, if unread { STATE_READ } else { STATE_WITHDRAWN }];
        let values: Vec<Value> = vec![
            number(recipient.raw()),
            before.map_or(i64::MAX.into(), number),
            left_out[0].into(),
            left_out[1].into(),
            ENTRIES_OF_GROUP.into(),
            (limit.cast_signed() * ENTRIES_OF_GROUP).into(),
            unshown.map_or(i64::MAX.into(), number),
        ];
        let mut groups: Vec<Grouping> = Vec::new();
        for row in self.link.rows_of(GROUPED, values).await? {
            let of = group(&row, 0)?;
            let whole = groups.len() as u64 == limit;
            match groups.last_mut().filter(|last| last.group == of) {
                Some(last) => last.add_people(&row)?,
                None if whole => break,
                None => groups.push(Grouping::of(of, &row)?),
            }
        }
        Ok(groups.into_iter().map(Grouping::finish).collect())
    }
}

/// A group on the way from its rows, which come newest first.
struct Grouping {
    group: Group,
    seq: u64,
    id: NotificationId,
    state: EntryState,
    line: InboxLine,
}

impl Grouping {
    fn of(group: Group, row: &Line) -> Result<Self, DbErr> {
        let created_at: Millis = unsigned(row, 8)?;
        let unread: i64 = get(row, 10)?;
        let line = InboxLine {
            group,
            actors: read_actors(&get::<Vec<u8>>(row, 5)?),
            count: small(row, 9)?,
            post: post_or_null(row, 6)?,
            comment: comment_or_null(row, 7)?,
            created_at,
        };
        let state = if unread > 0 { EntryState::Unread } else { EntryState::Read };
        Ok(Self { group, seq: unsigned(row, 3)?, id: NotificationId::from_raw(unsigned(row, 4)?), state, line })
    }

    fn add_people(&mut self, row: &Line) -> Result<(), DbErr> {
        for actor in read_actors(&get::<Vec<u8>>(row, 5)?) {
            if self.line.actors.len() < InboxLine::ACTORS_MAX && !self.line.actors.contains(&actor) {
                self.line.actors.push(actor);
            }
        }
        Ok(())
    }

    fn finish(self) -> GroupedEntry {
        InboxEntry { seq: self.seq, id: self.id, line: Arc::new(self.line), state: self.state }
    }
}
