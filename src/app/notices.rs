//! What the API needs of inboxes, filled in: entries from `notify`, names and texts from the view.

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use tokio::runtime::Handle;

use crate::api::ports::{NotificationPage, Notifications};
use crate::ledger::view::{View, ViewError};
use crate::notify::Inbox;
use crate::notify::inbox::PageAsked;
use crate::vocabulary::ids::UserId;
use crate::vocabulary::owner::Owner;
use crate::vocabulary::preferences::Preferences;

/// The inboxes as their owners see them.
pub(super) struct Notices {
    pub(super) inbox: Inbox,
    pub(super) view: View,
    /// Threads that have time for a page, and that a disk may hold up.
    pub(super) runtime: Handle,
}

impl Notifications for Notices {
    fn list(&self, reader: UserId, asked: PageAsked) -> LocalBoxFuture<'_, Result<NotificationPage, ViewError>> {
        async move {
            let inbox = self.inbox.clone();
            // Groups are made of the whole inbox.
            let read = move || async move { inbox.page(reader, asked).await.map_err(ViewError::of_inbox) };
            let page = self.view.aside(&Owner::Inbox(reader), &self.runtime, read).await?;
            let items = self.view.notifications(reader, page.entries).await?;
            Ok(NotificationPage { items, next: page.next, state: page.state, epoch: self.inbox.epoch(reader) })
        }
        .boxed_local()
    }

    fn unread(&self, reader: UserId) -> LocalBoxFuture<'_, Result<u64, ViewError>> {
        async move {
            let inbox = self.inbox.clone();
            let read = move || async move { inbox.state(reader).await.map_err(ViewError::of_inbox) };
            Ok(self.view.aside(&Owner::Inbox(reader), &self.runtime, read).await?.unread)
        }
        .boxed_local()
    }

    fn preferences(&self, reader: UserId) -> LocalBoxFuture<'_, Result<Preferences, ViewError>> {
        async move {
            let inbox = self.inbox.clone();
            let read = move || async move { inbox.preferences(reader).await.map_err(ViewError::of_inbox) };
            self.view.aside(&Owner::Inbox(reader), &self.runtime, read).await
        }
        .boxed_local()
    }
}
