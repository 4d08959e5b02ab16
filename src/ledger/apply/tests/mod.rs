//! The rules of each command, and what must hold for any history of commands.

mod accounts;
mod content;
mod model;
mod pairs;
mod properties;

use super::*;
use model::Model;

fn user(raw: u64) -> UserId {
    UserId::from_raw(raw)
}

fn post(raw: u64) -> PostId {
    PostId::from_raw(raw)
}

fn comment(raw: u64) -> CommentId {
    CommentId::from_raw(raw)
}

fn rejected(rejection: Rejection) -> Happened {
    Happened::Rejected(rejection)
}
