//! Comments with their likes and counters.

use sea_orm::sea_query::{ExprTrait, OnConflict};
use sea_orm::{DbErr, Value};
use sosik_entities::{comment_counters, comment_likes, comments};

use crate::vocabulary::ids::{CommentId, UserId};
use crate::vocabulary::text::CommentBody;

use super::bulk::{Key, Table, excluded, replace_if_higher, replace_if_not_lower, stored, sum};
use super::line::Line;
use super::rows::{CommentRow, LikeRow};
use super::values::{comment, get, number, number_or_null, position, post, unsigned_or_null, user};

pub(super) struct Comments;

impl Table for Comments {
    type Entity = comments::Entity;
    type Key = CommentId;
    type Row = CommentRow;

    const COLUMNS: &'static [comments::Column] = &[
        comments::Column::Comment,
        comments::Column::Post,
        comments::Column::Author,
        comments::Column::Parent,
        comments::Column::Body,
        comments::Column::Revision,
        comments::Column::EditedAt,
        comments::Column::Deleted,
        comments::Column::Answered,
    ];

    fn read(row: &Line) -> Result<(CommentId, CommentRow), DbErr> {
        let key = comment(row, 0)?;
        let found = CommentRow {
            comment: key,
            post: post(row, 1)?,
            author: user(row, 2)?,
            parent: unsigned_or_null(row, 3)?.map(CommentId::from_raw),
            body: CommentBody::from_row(get(row, 4)?),
            revision: position(row, 5)?,
            edited_at: unsigned_or_null(row, 6)?,
            deleted: get(row, 7)?,
            answered: get(row, 8)?,
        };
        Ok((key, found))
    }

    fn write(key: &CommentId, row: &CommentRow, values: &mut Vec<Value>) {
        key.push(values);
        row.post.push(values);
        row.author.push(values);
        values.push(number_or_null(row.parent.map(CommentId::raw)));
        values.push(row.body.as_str().into());
        values.extend([number(row.revision.0), number_or_null(row.edited_at), row.deleted.into(), row.answered.into()]);
    }

    /// A reply sets `answered` of its parent without a new revision, and nothing ever takes it back.
    fn on_conflict() -> OnConflict {
        let answered = stored::<Self>(comments::Column::Answered).or(excluded(comments::Column::Answered));
        let replaced = |column: &comments::Column| !matches!(column, comments::Column::Answered);
        replace_if_not_lower::<Self>(comments::Column::Revision, replaced).value(comments::Column::Answered, answered).to_owned()
    }
}

pub(super) struct CommentLikes;

impl Table for CommentLikes {
    type Entity = comment_likes::Entity;
    type Key = (CommentId, UserId);
    type Row = LikeRow;

    const COLUMNS: &'static [comment_likes::Column] =
        &[comment_likes::Column::Comment, comment_likes::Column::User, comment_likes::Column::Liked, comment_likes::Column::Position];

    fn read(row: &Line) -> Result<(Self::Key, LikeRow), DbErr> {
        Ok(((comment(row, 0)?, user(row, 1)?), LikeRow { liked: get(row, 2)?, position: position(row, 3)? }))
    }

    fn write(key: &Self::Key, row: &LikeRow, values: &mut Vec<Value>) {
        key.push(values);
        values.extend([row.liked.into(), number(row.position.0)]);
    }

    fn on_conflict() -> OnConflict {
        replace_if_higher::<Self>(comment_likes::Column::Position)
    }
}

/// The row is the number of likes.
pub(super) struct CommentCounts;

impl Table for CommentCounts {
    type Entity = comment_counters::Entity;
    type Key = CommentId;
    type Row = i64;

    const COLUMNS: &'static [comment_counters::Column] = &[comment_counters::Column::Comment, comment_counters::Column::Likes];

    fn read(row: &Line) -> Result<(CommentId, i64), DbErr> {
        Ok((comment(row, 0)?, get(row, 1)?))
    }

    fn write(key: &CommentId, likes: &i64, values: &mut Vec<Value>) {
        key.push(values);
        values.push((*likes).into());
    }

    fn on_conflict() -> OnConflict {
        OnConflict::column(comment_counters::Column::Comment)
            .value(comment_counters::Column::Likes, sum::<Self>(comment_counters::Column::Likes))
            .to_owned()
    }
}
