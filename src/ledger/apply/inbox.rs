//! Read marks and preferences: decided by the inbox's lane, which never says no.

use super::{Decided, Transition};
use crate::substrate::store::rows::PreferencesRow;
use crate::vocabulary::command::{Command, Entry};
use crate::vocabulary::event::Happened;
use crate::vocabulary::rejection::Rejection;

pub(super) fn decide(transition: &mut Transition, entry: &Entry) -> Decided {
    match &entry.command {
        // Which entries it is about is found where they are: an inbox is too long to be loaded for it.
        Command::MarkRead { mark } => transition.after.read_marks.push((entry.author, mark.clone())),
        Command::SetPreferences { preferences } => {
            let row = PreferencesRow { preferences: preferences.clone(), position: entry.position };
            transition.after.preferences.insert(entry.author, row);
        }
        _ => return Err(Rejection::NotFound),
    }
    Ok((Happened::Nothing, Vec::new()))
}
