//! Inboxes as the stream tells of them: the entries look as in `GET /v1/notifications`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::runtime::Handle;

use super::above::{json, refusal, refusal_of};
use crate::api::notification_shapes::Notification;
use crate::api::problem::Problem;
use crate::intake::{Intake, Submission, Wish};
use crate::ledger::view::{View, ViewError};
use crate::notify::Inbox;
use crate::stream::ports::{Entry, Inboxes, Refusal, SharedLine, Standing};
use crate::vocabulary::entry::{EntryState, InboxEntry, InboxLine, ReadMark};
use crate::vocabulary::ids::{NotificationId, UserId};
use crate::vocabulary::owner::Owner;

/// A read mark is decided this soon, or its client hears of it by the event alone.
const MARK_WAIT: Duration = Duration::from_secs(5);
/// How the JSON of an entry without a place begins.
const NOBODYS: &str = r#"{"seq":0,"id":"0","#;

pub struct StreamInboxes {
    pub inbox: Inbox,
    pub view: View,
    pub intake: Intake,
    /// Threads that a disk may hold up: those of sockets serve the clients of all shards.
    pub runtime: Handle,
}

impl StreamInboxes {
    async fn aside<T, R>(&self, user: UserId, read: impl FnOnce() -> R + Send + 'static) -> Result<T, Refusal>
    where
        T: Send + 'static,
        R: Future<Output = Result<T, ViewError>>,
    {
        self.view.aside(&Owner::Inbox(user), &self.runtime, read).await.map_err(refusal)
    }
}

impl Inboxes for StreamInboxes {
    fn standing(&self, user: UserId) -> LocalBoxFuture<'_, Result<Standing, Refusal>> {
        async move {
            let inbox = self.inbox.clone();
            let read = move || async move { inbox.state(user).await.map_err(ViewError::of_inbox) };
            let state = self.aside(user, read).await?;
            let epoch = self.inbox.epoch(user).to_string();
            Ok(Standing { epoch, seq: state.seq, min_seq: state.min_seq, unread: state.unread })
        }
        .boxed_local()
    }

    fn after(&self, user: UserId, seq: u64, limit: usize) -> LocalBoxFuture<'_, Result<Vec<Entry>, Refusal>> {
        async move {
            let inbox = self.inbox.clone();
            let read = move || async move { inbox.after(user, seq, limit).await.map_err(ViewError::of_inbox) };
            let entries = self.aside(user, read).await?.into_iter();
            let (gone, shown): (Vec<InboxEntry>, Vec<InboxEntry>) = entries.partition(|entry| entry.state == EntryState::Withdrawn);
            let mut entries: Vec<Entry> = gone.into_iter().map(|entry| Entry { seq: entry.seq, data: None }).collect();
            for view in self.view.notifications(user, shown).await.map_err(refusal)? {
                entries.push(Entry { seq: view.entry.seq, data: Some(json(&Notification::from(&view))?) });
            }
            entries.sort_unstable_by_key(|entry| entry.seq);
            Ok(entries)
        }
        .boxed_local()
    }

    fn mark_read(&self, user: UserId, up_to: u64) -> LocalBoxFuture<'_, Result<(), Refusal>> {
        async move {
            let wish = Wish::MarkRead { mark: ReadMark::UpTo(up_to) };
            let submission = Submission { author: user, wish, key: None, wait: MARK_WAIT };
            self.intake.submit(submission).await.map(drop).map_err(|error| refusal_of(&Problem::from(error)))
        }
        .boxed_local()
    }

    fn line<'a>(&'a self, line: &'a Arc<InboxLine>, told: &'a [UserId]) -> LocalBoxFuture<'a, Result<SharedLine, Refusal>> {
        async move {
            let mut apart = HashSet::new();
            if let Some(post) = line.post {
                match self.view.post(None, post).await {
                    Ok(post) => apart = self.view.hidden_from(post.author.user, told).await.map_err(refusal)?,
                    // Nobody sees anything of it.
                    Err(ViewError::NotFound | ViewError::Gone) => {}
                    // Whom its author is hidden from is not known: each reads his own entry.
                    Err(error) => return Err(refusal(error)),
                }
            }
            let Some(reader) = told.iter().find(|user| !apart.contains(user)) else { return Ok(SharedLine { json: None, apart }) };
            let entry = InboxEntry { seq: 0, id: NotificationId::from_raw(0), line: Arc::clone(line), state: EntryState::Unread };
            let seen = self.view.notifications(*reader, vec![entry]).await.map_err(refusal)?;
            let json = seen.first().map(|view| json(&Notification::from(view))).transpose()?;
            Ok(SharedLine { json: json.and_then(|json| json.strip_prefix(NOBODYS).map(str::to_owned)), apart })
        }
        .boxed_local()
    }

    fn entry(&self, seq: u64, id: NotificationId, line: &str) -> String {
        format!(r#"{{"seq":{seq},"id":"{id}",{line}"#)
    }
}
