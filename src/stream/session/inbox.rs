//! How a session keeps its client's inbox whole: the greeting, `resume`, and the pages that fill a hole.

use std::sync::Arc;

use actix::prelude::*;

use super::{HEARTBEAT, Session, TRY_AGAIN_AFTER};
use crate::stream::close_code::CloseCode;
use crate::stream::frame::{Frame, Hello, ResetReason};
use crate::stream::outbox::Line;
use crate::stream::ports::Standing;
use crate::support::faults::planted;

impl Session {
    /// Tells the client where its inbox stands; live entries flow from there on. The hub knows the socket already, so that
    /// what comes between the look and this is a hole, and is filled.
    pub(super) fn greet(&mut self, context: &mut Context<Self>) {
        let Some(signed) = self.signed else { return };
        let desk = Arc::clone(&self.desk);
        let looking = async move {
            let standing = desk.above.inboxes.standing(signed.user).await;
            #[cfg(feature = "faults")]
            crate::support::faults::gate("stream::between_look_and_attach").await;
            standing
        };
        context.wait(looking.into_actor(self).map(move |standing, session, context| match standing {
            Ok(standing) => {
                let mut frames = vec![Frame::hello(&Hello {
                    user: signed.user,
                    epoch: &standing.epoch,
                    seq: standing.seq,
                    unread: standing.unread,
                    heartbeat_ms: HEARTBEAT.as_millis() as u64,
                    watch_limit: session.desk.limits.watches_per_socket,
                })];
                let mut after = standing.seq;
                match session.opening.resume.take().map(|(epoch, after)| place(&epoch, after, &standing)) {
                    Some(Ok(asked)) => after = asked,
                    Some(Err(reason)) => frames.push(Frame::reset(&standing.epoch, standing.seq, reason)),
                    None => {}
                }
                // All at once: an entry that comes in between would be sent before what the client asked for.
                session.outbox.begin(&frames, &standing.epoch, after, standing.seq);
                session.greeted = true;
                for post in std::mem::take(&mut session.opening.watches) {
                    session.watch(post, context);
                }
            }
            Err(refusal) => {
                tracing::debug!(user.id = %signed.user, code = refusal.code, "an inbox could not be looked at");
                context.run_later(TRY_AGAIN_AFTER, Self::greet);
            }
        }));
    }

    /// `resume`: from now on what comes after `after` is sent, and nothing else of the inbox.
    pub(super) fn resume(&mut self, epoch: String, after: u64, context: &mut Context<Self>) {
        if !self.greeted {
            self.opening.resume = Some((epoch, after));
            return;
        }
        self.outbox.hold();
        self.with_standing(context, move |session, standing| match standing {
            Some(standing) => match place(&epoch, after, &standing) {
                Ok(after) => session.outbox.go_on(Some(after), standing.seq),
                Err(reason) => session.reset(&standing, reason),
            },
            None => session.outbox.go_on(None, 0),
        });
    }

    fn reset(&self, standing: &Standing, reason: ResetReason) {
        let frame = Frame::reset(&standing.epoch, standing.seq, reason);
        self.outbox.begin(&[frame], &standing.epoch, standing.seq, standing.seq);
    }

    /// Reads a page, beside everything else that the session does.
    pub(super) fn read_history(&mut self, after: u64, turn: u64, context: &mut Context<Self>) {
        let Some(signed) = self.signed else { return };
        let desk = Arc::clone(&self.desk);
        let page = self.outbox.page();
        let reading = async move { desk.above.inboxes.after(signed.user, after, page).await };
        context.spawn(reading.into_actor(self).map(move |entries, session, context| match entries {
            Ok(entries) => {
                let lines =
                    entries.into_iter().map(|entry| Line { seq: entry.seq, frame: Frame::notification(entry.seq, entry.data.as_deref()) });
                if !session.outbox.fill(turn, lines.collect()) {
                    // What comes next went while it was waited for.
                    session.outbox.hold();
                    session.with_standing(context, |session, standing| match standing {
                        Some(standing) => session.reset(&standing, ResetReason::Retention),
                        None => session.outbox.go_on(None, 0),
                    });
                }
            }
            Err(refusal) => {
                tracing::debug!(user.id = %signed.user, code = refusal.code, "a page of an inbox could not be read");
                session.outbox.fill_failed(turn);
                context.run_later(TRY_AGAIN_AFTER, Self::attend);
            }
        }));
    }

    /// Hints were lost: is the user still signed in, and does the inbox have more than was sent?
    pub(super) fn look(&mut self, context: &mut Context<Self>) {
        let Some(signed) = self.signed else { return };
        if !self.desk.above.door.is_signed_in(&signed) {
            return self.outbox.close(CloseCode::NotSignedIn);
        }
        if !self.greeted || planted("stream::skip_holes") {
            return;
        }
        if let Some(again) = &mut self.looking {
            // One look at a time: what is lost while it is under way is looked for after it.
            *again = true;
            return;
        }
        self.looking = Some(false);
        let desk = Arc::clone(&self.desk);
        let looking = async move { desk.above.inboxes.standing(signed.user).await };
        context.spawn(looking.into_actor(self).map(|standing, session, context| {
            match standing {
                Ok(standing) if session.outbox.epoch().as_deref() == Some(&standing.epoch) => {
                    session.outbox.note_entry(standing.seq);
                    session.attend(context);
                }
                Ok(standing) => session.reset(&standing, ResetReason::Epoch),
                Err(_) => {
                    context.run_later(TRY_AGAIN_AFTER, |session, context| {
                        session.looking = None;
                        session.look(context);
                    });
                    return;
                }
            }
            if session.looking.take() == Some(true) {
                session.look(context);
            }
        }));
    }

    /// Looks at the inbox while nothing else is done. `None`: it could not be looked at, and the client was told.
    fn with_standing(&mut self, context: &mut Context<Self>, then: impl FnOnce(&mut Self, Option<Standing>) + 'static) {
        let Some(signed) = self.signed else { return };
        let desk = Arc::clone(&self.desk);
        let looking = async move { desk.above.inboxes.standing(signed.user).await };
        context.wait(looking.into_actor(self).map(move |standing, session, _| {
            let standing = standing.map_err(|refusal| session.outbox.push(&Frame::error(refusal.code, &refusal.detail)));
            then(session, standing.ok());
        }));
    }
}

/// Where a client that has everything up to `after` goes on, if that is still kept.
fn place(epoch: &str, after: u64, standing: &Standing) -> Result<u64, ResetReason> {
    if epoch != standing.epoch {
        Err(ResetReason::Epoch)
    } else if after > standing.seq {
        Err(ResetReason::Ahead)
    } else if after.saturating_add(1) < standing.min_seq {
        Err(ResetReason::Retention)
    } else {
        Ok(after)
    }
}
