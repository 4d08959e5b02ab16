//! Posts with their likes, subscriptions and counters.

use sea_orm::sea_query::{CaseStatement, ExprTrait, OnConflict};
use sea_orm::{DbErr, Value};
use sosik_entities::{post_counters, post_likes, posts, subscriptions};

use crate::vocabulary::command::SubscriptionMode;
use crate::vocabulary::ids::{PostId, UserId};
use crate::vocabulary::text::PostBody;

use super::bulk::{Key, Table, excluded, replace_if_higher, replace_if_not_lower, stored, sum};
use super::line::Line;
use super::rows::{LikeRow, PostCounters, PostRow, SubscriptionRow};
use super::values::{get, number, number_or_null, position, post, unreadable, unsigned_or_null, user};

pub(super) struct Posts;

impl Table for Posts {
    type Entity = posts::Entity;
    type Key = PostId;
    type Row = PostRow;

    const COLUMNS: &'static [posts::Column] = &[
        posts::Column::Post,
        posts::Column::Author,
        posts::Column::Body,
        posts::Column::Revision,
        posts::Column::EditedAt,
        posts::Column::Deleted,
    ];

    fn read(row: &Line) -> Result<(PostId, PostRow), DbErr> {
        let key = post(row, 0)?;
        let body = PostBody::from_row(get(row, 2)?);
        let (revision, edited_at) = (position(row, 3)?, unsigned_or_null(row, 4)?);
        Ok((key, PostRow { post: key, author: user(row, 1)?, body, revision, edited_at, deleted: get(row, 5)? }))
    }

    fn write(key: &PostId, row: &PostRow, values: &mut Vec<Value>) {
        key.push(values);
        row.author.push(values);
        values.push(row.body.as_str().into());
        values.extend([number(row.revision.0), number_or_null(row.edited_at), row.deleted.into()]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_not_lower::<Self>(posts::Column::Revision, |_| true)
    }
}

pub(super) struct PostLikes;

impl Table for PostLikes {
    type Entity = post_likes::Entity;
    type Key = (PostId, UserId);
    type Row = LikeRow;

    const COLUMNS: &'static [post_likes::Column] =
        &[post_likes::Column::Post, post_likes::Column::User, post_likes::Column::Liked, post_likes::Column::Position];

    fn read(row: &Line) -> Result<(Self::Key, LikeRow), DbErr> {
        Ok(((post(row, 0)?, user(row, 1)?), LikeRow { liked: get(row, 2)?, position: position(row, 3)? }))
    }

    fn write(key: &Self::Key, row: &LikeRow, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([row.liked.into(), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(post_likes::Column::Position)
    }
}

pub(super) struct Subscriptions;

impl Table for Subscriptions {
    type Entity = subscriptions::Entity;
    type Key = (PostId, UserId);
    type Row = SubscriptionRow;

    const COLUMNS: &'static [subscriptions::Column] =
        &[subscriptions::Column::Post, subscriptions::Column::User, subscriptions::Column::Mode, subscriptions::Column::Position];

    fn read(row: &Line) -> Result<(Self::Key, SubscriptionRow), DbErr> {
        let mode = subscription_mode(get(row, 2)?)?;
        Ok(((post(row, 0)?, user(row, 1)?), SubscriptionRow { mode, position: position(row, 3)? }))
    }

    fn write(key: &Self::Key, row: &SubscriptionRow, values: &mut Vec<Value>) {
        let mode = match row.mode {
            SubscriptionMode::Subscribed => MODE_SUBSCRIBED,
            SubscriptionMode::Muted => MODE_MUTED,
            SubscriptionMode::Default => MODE_DEFAULT,
        };
        key.push(values);
        values.extend([mode.into(), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(subscriptions::Column::Position)
    }
}

/// The mode that a number in the table means.
pub(super) fn subscription_mode(number: i64) -> Result<SubscriptionMode, DbErr> {
    match number {
        MODE_SUBSCRIBED => Ok(SubscriptionMode::Subscribed),
        MODE_MUTED => Ok(SubscriptionMode::Muted),
        MODE_DEFAULT => Ok(SubscriptionMode::Default),
        other => Err(unreadable("a subscription mode", other)),
    }
}

pub(super) const MODE_SUBSCRIBED: i64 = 1;
const MODE_MUTED: i64 = 2;
const MODE_DEFAULT: i64 = 3;

pub(super) struct PostCounts;

impl Table for PostCounts {
    type Entity = post_counters::Entity;
    type Key = PostId;
    type Row = PostCounters;

    const COLUMNS: &'static [post_counters::Column] =
        &[post_counters::Column::Post, post_counters::Column::Likes, post_counters::Column::Comments, post_counters::Column::Position];

    fn read(row: &Line) -> Result<(PostId, PostCounters), DbErr> {
        Ok((post(row, 0)?, PostCounters { likes: get(row, 1)?, comments: get(row, 2)?, position: position(row, 3)? }))
    }

    fn write(key: &PostId, row: &PostCounters, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([row.likes.into(), row.comments.into(), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        let (stored_position, new_position) = (stored::<Self>(post_counters::Column::Position), excluded(post_counters::Column::Position));
        let higher = CaseStatement::new().case(new_position.clone().gt(stored_position.clone()), new_position).finally(stored_position);
        OnConflict::column(post_counters::Column::Post)
            .value(post_counters::Column::Likes, sum::<Self>(post_counters::Column::Likes))
            .value(post_counters::Column::Comments, sum::<Self>(post_counters::Column::Comments))
            .value(post_counters::Column::Position, higher)
            .to_owned()
    }
}
