//! How recipients stand: where their inboxes are, what they want to hear, and how they are with the people who did something. What a
//! delivery asks of each recipient, in one statement.

use std::collections::HashMap;

use sea_orm::sea_query::{Expr, ExprTrait, SelectStatement};
use sea_orm::{DbErr, Value};
use sosik_entities::{inbox_states, mutes, preferences, relations};

use crate::vocabulary::entry::InboxState;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::preferences::Preferences;
use crate::vocabulary::relation::PairState;

use super::bulk::Key;
use super::error::StoreError;
use super::inbox::read_preferences;
use super::line::Line;
use super::relations::follow;
use super::values::{get, unsigned, unsigned_or_null, user};
use super::write_tx::WriteTx;

/// The most keys that one statement looks for.
const STANDINGS_MAX: usize = 1024;
/// In the place of a host where there is none: nobody has this id.
const NOBODY: UserId = UserId::from_raw(0);

/// Who is to be told of whose doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StandingKey {
    pub recipient: UserId,
    pub actor: UserId,
    /// Whose post it is about, if that is somebody else.
    pub host: Option<UserId>,
}

impl Key for StandingKey {
    const PARTS: usize = 3;

    fn push(&self, values: &mut Vec<Value>) {
        for user in [self.recipient, self.actor, self.host.unwrap_or(NOBODY)] {
            user.push(values);
        }
    }
}

/// What the recipient's own rows say. Where there is no row: what holds without one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StandingRow {
    pub inbox: InboxState,
    pub preferences: Preferences,
    /// He and the actor.
    pub actor: PairState,
    /// Whether he and the host are in a block.
    pub apart_from_host: bool,
    /// He muted the actor.
    pub muted: bool,
}

impl WriteTx {
    /// One for each key.
    pub async fn standings(&mut self, keys: Vec<StandingKey>) -> Result<HashMap<StandingKey, StandingRow>, StoreError> {
        let lines = self.link.ask::<StandingRow, _>(keys, STANDINGS_MAX, question).await?;
        let mut standings = HashMap::with_capacity(lines.len());
        for line in &lines {
            let (key, row) = read(line)?;
            standings.insert(key, row);
        }
        Ok(standings)
    }
}

fn question(mut wanted: SelectStatement) -> SelectStatement {
    let [recipient, actor, host] = ["column1", "column2", "column3"].map(|column| Expr::col(("wanted", column)));
    let relation = |column: relations::Column| Expr::col((relations::Entity, column));
    let beside = |column: relations::Column| Expr::col(("beside", column));
    let mute = |column: mutes::Column| Expr::col((mutes::Entity, column));
    wanted
        .exprs([recipient.clone(), actor.clone(), host.clone()])
        .columns(
            [inbox_states::Column::Seq, inbox_states::Column::MinSeq, inbox_states::Column::Unread, inbox_states::Column::ReadUpTo]
                .map(|column| (inbox_states::Entity, column)),
        )
        .column((preferences::Entity, preferences::Column::Payload))
        .exprs([relations::Column::FollowingSince, relations::Column::FollowingNotify].map(relation))
        .exprs([relations::Column::FollowedSince, relations::Column::FollowedNotify].map(relation))
        .exprs([relations::Column::Blocking, relations::Column::BlockedBy].map(relation))
        .exprs([relations::Column::Blocking, relations::Column::BlockedBy].map(beside))
        .column((mutes::Entity, mutes::Column::Muting))
        .left_join(inbox_states::Entity, Expr::col((inbox_states::Entity, inbox_states::Column::Owner)).eq(recipient.clone()))
        .left_join(preferences::Entity, Expr::col((preferences::Entity, preferences::Column::User)).eq(recipient.clone()))
        .left_join(
            relations::Entity,
            relation(relations::Column::Owner).eq(recipient.clone()).and(relation(relations::Column::Other).eq(actor.clone())),
        )
        .join_as(
            sea_orm::JoinType::LeftJoin,
            relations::Entity,
            "beside",
            beside(relations::Column::Owner).eq(recipient.clone()).and(beside(relations::Column::Other).eq(host)),
        )
        .left_join(mutes::Entity, mute(mutes::Column::Owner).eq(recipient).and(mute(mutes::Column::Other).eq(actor)));
    wanted
}

fn read(row: &Line) -> Result<(StandingKey, StandingRow), DbErr> {
    let host = user(row, 2)?;
    let key = StandingKey { recipient: user(row, 0)?, actor: user(row, 1)?, host: (host != NOBODY).then_some(host) };
    let inbox = match unsigned_or_null(row, 3)? {
        None => InboxState::default(),
        Some(seq) => InboxState { seq, min_seq: unsigned(row, 4)?, unread: unsigned(row, 5)?, read_up_to: unsigned(row, 6)? },
    };
    let preferences = match get::<Option<Vec<u8>>>(row, 7)? {
        None => Preferences::default(),
        Some(payload) => read_preferences(&payload)?,
    };
    let flag = |index| Ok::<_, DbErr>(get::<Option<bool>>(row, index)?.unwrap_or_default());
    let actor = PairState { following: follow(row, 8)?, followed_by: follow(row, 10)?, blocking: flag(12)?, blocked_by: flag(13)? };
    let apart_from_host = flag(14)? || flag(15)?;
    Ok((key, StandingRow { inbox, preferences, actor, apart_from_host, muted: flag(16)? }))
}
