//! Between the words of `vocabulary` and the 64-bit numbers of the tables. Ids and positions stay below 2^63.

use sea_orm::{DbErr, Value};

use crate::vocabulary::Millis;
use crate::vocabulary::ids::{CommentId, Position, PostId, SessionId, UserId, WriteId};
use crate::vocabulary::owner::{Lane, NameKey, ShardIndex};

use super::bulk::Key;
use super::line::{Cell, Line};
use super::rows::SourceLane;

/// Carried over bit by bit: nothing is lost of a number above 2^63 either.
pub(super) fn stored(number: u64) -> i64 {
    number.cast_signed()
}

pub(super) fn number(number: u64) -> Value {
    stored(number).into()
}

pub(super) fn number_or_null(number: Option<u64>) -> Value {
    number.map(stored).into()
}

pub(super) fn get<T: Cell>(row: &Line, index: usize) -> Result<T, DbErr> {
    row.get(index)
}

pub(super) fn unsigned(row: &Line, index: usize) -> Result<u64, DbErr> {
    get::<i64>(row, index).map(i64::cast_unsigned)
}

pub(super) fn unsigned_or_null(row: &Line, index: usize) -> Result<Option<u64>, DbErr> {
    Ok(get::<Option<i64>>(row, index)?.map(i64::cast_unsigned))
}

pub(super) fn position(row: &Line, index: usize) -> Result<Position, DbErr> {
    unsigned(row, index).map(Position)
}

pub(super) fn user(row: &Line, index: usize) -> Result<UserId, DbErr> {
    unsigned(row, index).map(UserId::from_raw)
}

pub(super) fn post(row: &Line, index: usize) -> Result<PostId, DbErr> {
    unsigned(row, index).map(PostId::from_raw)
}

pub(super) fn comment(row: &Line, index: usize) -> Result<CommentId, DbErr> {
    unsigned(row, index).map(CommentId::from_raw)
}

pub(super) fn post_or_null(row: &Line, index: usize) -> Result<Option<PostId>, DbErr> {
    Ok(unsigned_or_null(row, index)?.map(PostId::from_raw))
}

pub(super) fn comment_or_null(row: &Line, index: usize) -> Result<Option<CommentId>, DbErr> {
    Ok(unsigned_or_null(row, index)?.map(CommentId::from_raw))
}

/// A small number: a lane, a shard, a count.
pub(super) fn small<T: TryFrom<i64>>(row: &Line, index: usize) -> Result<T, DbErr> {
    let number = get::<i64>(row, index)?;
    T::try_from(number).ok().ok_or_else(|| unreadable("a small number", number))
}

pub(super) fn lane(row: &Line, index: usize) -> Result<Lane, DbErr> {
    small(row, index).map(Lane)
}

pub(super) fn source_lane(row: &Line, index: usize) -> Result<SourceLane, DbErr> {
    Ok(SourceLane { shard: ShardIndex(small(row, index)?), lane: lane(row, index + 1)? })
}

pub(super) fn unreadable(what: &str, found: i64) -> DbErr {
    DbErr::Type(format!("{found} is not {what}"))
}

macro_rules! id_key {
    ($($id:ty),*) => {$(
        impl Key for $id {
            const PARTS: usize = 1;

            fn push(&self, values: &mut Vec<Value>) {
                values.push(number(self.raw()));
            }
        }
    )*};
}

id_key!(UserId, PostId, CommentId, WriteId, SessionId);

impl Key for NameKey {
    const PARTS: usize = 1;

    fn push(&self, values: &mut Vec<Value>) {
        values.push(self.as_str().into());
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    const PARTS: usize = A::PARTS + B::PARTS;

    fn push(&self, values: &mut Vec<Value>) {
        self.0.push(values);
        self.1.push(values);
    }
}

/// A place in a sequence.
impl Key for u64 {
    const PARTS: usize = 1;

    fn push(&self, values: &mut Vec<Value>) {
        values.push(number(*self));
    }
}

impl Key for Lane {
    const PARTS: usize = 1;

    fn push(&self, values: &mut Vec<Value>) {
        values.push(number(self.0.into()));
    }
}

impl Key for Position {
    const PARTS: usize = 1;

    fn push(&self, values: &mut Vec<Value>) {
        values.push(number(self.0));
    }
}

/// A time, as its column has it.
pub(super) fn millis(row: &Line, index: usize) -> Result<Millis, DbErr> {
    unsigned(row, index)
}
