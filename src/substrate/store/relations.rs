//! What belongs to a user among others: his sides of pairs, his mutes, the index of his posts, his counters.

use sea_orm::sea_query::OnConflict;
use sea_orm::{DbErr, Value};
use sosik_entities::{author_posts, mutes, relations, user_counters};

use crate::vocabulary::ids::{Position, PostId, UserId};
use crate::vocabulary::relation::{Follow, FollowNotify, PairState};

use super::bulk::{Key, Table, replace_if_higher, sum};
use super::line::Line;
use super::rows::{AuthorPostRow, MuteRow, RelationRow, UserCounters};
use super::values::{get, number, position, post, unreadable, unsigned_or_null, user};

pub(super) struct Relations;

impl Table for Relations {
    type Entity = relations::Entity;
    type Key = (UserId, UserId);
    type Row = RelationRow;

    const COLUMNS: &'static [relations::Column] = &[
        relations::Column::Owner,
        relations::Column::Other,
        relations::Column::FollowingSince,
        relations::Column::FollowingNotify,
        relations::Column::FollowedSince,
        relations::Column::FollowedNotify,
        relations::Column::Blocking,
        relations::Column::BlockedBy,
        relations::Column::HasFollowed,
        relations::Column::WasFollowed,
        relations::Column::Position,
    ];

    fn read(row: &Line) -> Result<(Self::Key, RelationRow), DbErr> {
        let key = (user(row, 0)?, user(row, 1)?);
        let state =
            PairState { following: follow(row, 2)?, followed_by: follow(row, 4)?, blocking: get(row, 6)?, blocked_by: get(row, 7)? };
        let row = RelationRow { state, has_followed: get(row, 8)?, was_followed: get(row, 9)?, position: position(row, 10)? };
        Ok((key, row))
    }

    fn write(key: &Self::Key, row: &RelationRow, values: &mut Vec<Value>) {
        key.push(values);
        for direction in [row.state.following, row.state.followed_by] {
            values.push(direction.map(|follow| follow.since.0.cast_signed()).into());
            values.push(direction.map(|follow| notify_code(follow.notify)).into());
        }
        values.extend([row.state.blocking.into(), row.state.blocked_by.into()]);
        values.extend([row.has_followed.into(), row.was_followed.into(), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(relations::Column::Position)
    }
}

const NOTIFY_AUTOMATIC: i64 = 1;
const NOTIFY_ALWAYS: i64 = 2;
const NOTIFY_NEVER: i64 = 3;

pub(super) fn notify_code(notify: FollowNotify) -> i64 {
    match notify {
        FollowNotify::Automatic => NOTIFY_AUTOMATIC,
        FollowNotify::Always => NOTIFY_ALWAYS,
        FollowNotify::Never => NOTIFY_NEVER,
    }
}

/// The follow in two columns from `index` on, `since` and `notify`.
pub(super) fn follow(row: &Line, index: usize) -> Result<Option<Follow>, DbErr> {
    let Some(since) = unsigned_or_null(row, index)? else { return Ok(None) };
    let notify = match get::<i64>(row, index + 1)? {
        NOTIFY_AUTOMATIC => FollowNotify::Automatic,
        NOTIFY_ALWAYS => FollowNotify::Always,
        NOTIFY_NEVER => FollowNotify::Never,
        other => return Err(unreadable("a wish to be notified", other)),
    };
    Ok(Some(Follow { since: Position(since), notify }))
}

pub(super) struct Mutes;

impl Table for Mutes {
    type Entity = mutes::Entity;
    type Key = (UserId, UserId);
    type Row = MuteRow;

    const COLUMNS: &'static [mutes::Column] = &[mutes::Column::Owner, mutes::Column::Other, mutes::Column::Muting, mutes::Column::Position];

    fn read(row: &Line) -> Result<(Self::Key, MuteRow), DbErr> {
        Ok(((user(row, 0)?, user(row, 1)?), MuteRow { muting: get(row, 2)?, position: position(row, 3)? }))
    }

    fn write(key: &Self::Key, row: &MuteRow, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([row.muting.into(), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(mutes::Column::Position)
    }
}

pub(super) struct AuthorPosts;

impl Table for AuthorPosts {
    type Entity = author_posts::Entity;
    type Key = (UserId, PostId);
    type Row = AuthorPostRow;

    const COLUMNS: &'static [author_posts::Column] =
        &[author_posts::Column::Author, author_posts::Column::Post, author_posts::Column::Deleted, author_posts::Column::Position];

    fn read(row: &Line) -> Result<(Self::Key, AuthorPostRow), DbErr> {
        Ok(((user(row, 0)?, post(row, 1)?), AuthorPostRow { deleted: get(row, 2)?, position: position(row, 3)? }))
    }

    fn write(key: &Self::Key, row: &AuthorPostRow, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([row.deleted.into(), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(author_posts::Column::Position)
    }
}

pub(super) struct UserCounts;

impl Table for UserCounts {
    type Entity = user_counters::Entity;
    type Key = UserId;
    type Row = UserCounters;

    const COLUMNS: &'static [user_counters::Column] =
        &[user_counters::Column::User, user_counters::Column::Posts, user_counters::Column::Followers, user_counters::Column::Following];

    fn read(row: &Line) -> Result<(UserId, UserCounters), DbErr> {
        Ok((user(row, 0)?, UserCounters { posts: get(row, 1)?, followers: get(row, 2)?, following: get(row, 3)? }))
    }

    fn write(key: &UserId, row: &UserCounters, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([row.posts.into(), row.followers.into(), row.following.into()]);
    }

    fn on_conflict() -> OnConflict {
        OnConflict::column(user_counters::Column::User)
            .value(user_counters::Column::Posts, sum::<Self>(user_counters::Column::Posts))
            .value(user_counters::Column::Followers, sum::<Self>(user_counters::Column::Followers))
            .value(user_counters::Column::Following, sum::<Self>(user_counters::Column::Following))
            .to_owned()
    }
}
