//! The promise of the overlay, on real databases: overlay(snapshot k, own writes up to n) is the own view of snapshot n.

mod cases;
mod hot;
mod observed;
mod properties;

use super::*;
use observed::{differences, observe};

use crate::ledger::testing::{Town, runtime};
use crate::vocabulary::ids::{CommentId, PostId};

fn user(raw: u64) -> UserId {
    UserId::from_raw(raw)
}

fn post(raw: u64) -> PostId {
    PostId::from_raw(raw)
}

fn comment(raw: u64) -> CommentId {
    CommentId::from_raw(raw)
}
