//! From a hint to frames: what must be read is read beside the hub, so that it goes on telling meanwhile, and comes back as
//! [`Made`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{MAKING_MAX, StreamHub};
use crate::stream::close_code::CloseCode;
use crate::stream::frame::{Frame, Numbers};
use crate::stream::ports::{Pages, Refusal, SharedLine};
use crate::stream::watch::Change;
use crate::substrate::bus::{Hint, PostNews, Told};
use crate::support::faults::planted;
use crate::vocabulary::ids::{Position, PostId, UserId};

/// What was read for a hint, or waited for.
pub(super) enum Made {
    /// The line that these people are told of; `None` if it could not be read.
    Line { told: Vec<Told>, line: Option<SharedLine> },
    /// Something for the watchers of a post, but for those it is hidden from; `None` if it could not be read.
    News { post: PostId, news: Option<(Frame, HashSet<UserId>)>, ends: bool },
    /// The counts of a post; none once there is nothing to be seen. `again`: they could not be read.
    Counts { post: PostId, counts: Option<(Numbers, HashSet<UserId>)>, again: bool },
    /// Counts are due.
    Due { post: PostId, round: u64 },
}

impl StreamHub {
    pub(super) fn tell(&mut self, hint: &Hint) {
        match hint {
            Hint::Inbox { line, told } => {
                let told: Vec<Told> = told.iter().filter(|told| self.registry.has_user(told.user)).copied().collect();
                if told.is_empty() || planted("stream::lose_hints") && told.iter().any(|told| told.seq % 2 == 1) {
                    return;
                }
                if self.is_busy() {
                    return self.note(&told);
                }
                let (inboxes, line) = (Arc::clone(&self.above.inboxes), Arc::clone(line));
                self.make(async move {
                    let users: Vec<UserId> = told.iter().map(|told| told.user).collect();
                    let line = inboxes.line(&line, &users).await.ok();
                    Made::Line { told, line }
                });
            }
            Hint::Withdrawn { user, seq, unread } => {
                let frame = Frame::withdrawn(*seq, *unread);
                let told = self.registry.of_user(*user).filter(|outbox| outbox.has_sent(*seq));
                told.for_each(|outbox| outbox.push(&frame));
            }
            Hint::Read { user, up_to, unread } => self.tell_user(*user, || Some(Frame::read(*up_to, *unread))),
            Hint::Write(settled) => {
                let pages = Arc::clone(&self.above.pages);
                self.tell_user(settled.author, || pages.write(settled).map(|write| Frame::write(&write)));
            }
            Hint::SessionsEnded { sessions } => {
                let sockets = sessions.iter().flat_map(|session| self.registry.of_session(*session));
                sockets.for_each(|outbox| outbox.close(CloseCode::NotSignedIn));
            }
            Hint::Post { post, position, news } => self.tell_post(*post, *position, *news),
        }
    }

    /// The frame is made only if somebody hears it.
    fn tell_user(&self, user: UserId, frame: impl FnOnce() -> Option<Frame>) {
        if !self.registry.has_user(user) {
            return;
        }
            Hint::Missed => self.look_everywhere(),
        let Some(frame) = frame() else { return };
        self.registry.of_user(user).for_each(|outbox| outbox.push(&frame));
    }

    fn tell_post(&mut self, post: PostId, position: Position, news: PostNews) {
        let busy = self.is_busy();
        let Some(watched) = self.registry.post(post) else { return };
        let (author, viewers) = (watched.author, watched.users());
        let pages = Arc::clone(&self.above.pages);
        match news {
            PostNews::Counts => return self.changed(post, Change::Numbers),
            // A deletion is told however busy it is: it is what ends the watching.
            PostNews::Deleted => self.make(async move {
                let hidden = hidden_from(pages.as_ref(), author, &viewers).await;
                let frame = Frame::post(post, position, "deleted", None);
                Made::News { post, news: hidden.ok().map(|hidden| (frame, hidden)), ends: true }
            }),
            _ if busy => metrics::counter!("sosik_stream_news_dropped_total").increment(1),
            PostNews::Edited => self.make(async move {
                let made = async {
                    let Some(json) = pages.post(post).await? else { return Ok(None) };
                    let hidden = hidden_from(pages.as_ref(), author, &viewers).await?;
                    Ok::<_, Refusal>(Some((Frame::post(post, position, "edited", Some(&json)), hidden)))
                };
                Made::News { post, news: made.await.ok().flatten(), ends: false }
            }),
            PostNews::CommentCreated(comment) | PostNews::CommentEdited(comment) | PostNews::CommentDeleted(comment) => {
                let action = match news {
                    PostNews::CommentCreated(_) => "created",
                    PostNews::CommentEdited(_) => "edited",
                    _ => "deleted",
                };
                self.make(async move {
                    let made = async {
                        let Some(json) = pages.comment(post, comment).await? else { return Ok(None) };
                        let hidden = hidden_from(pages.as_ref(), author, &viewers).await?;
                        Ok::<_, Refusal>(Some((Frame::comment(post, position, action, &json), hidden)))
                    };
                    Made::News { post, news: made.await.ok().flatten(), ends: false }
                });
            }
        }
        self.changed(post, Change::Numbers);
    }

    pub(super) fn tell_made(&mut self, made: Made) {
        match made {
            Made::Due { post, round } => return self.count_post(post, round),
            Made::Line { told, line: Some(SharedLine { json: Some(json), apart }) } => {
                for told in told {
                    if apart.contains(&told.user) {
                        self.note(&[told]);
                        continue;
                    }
                    let entry = self.above.inboxes.entry(told.seq, told.id, &json);
                    let frame = Frame::notification(told.seq, Some(&entry));
                    self.registry.of_user(told.user).for_each(|outbox| outbox.push_entry(told.seq, &frame));
                }
            }
            Made::Line { told, .. } => self.note(&told),
            Made::News { post, news, ends } => {
                if let Some((frame, hidden)) = news {
                    self.fan_out(post, &frame, &hidden);
                }
                if ends {
                    self.registry.end_post(post);
                    self.count();
                }
            }
            Made::Counts { post, counts, again } => {
                if let Some((numbers, hidden)) = counts
                    && let Some(watched) = self.registry.post(post)
                    && watched.version <= numbers.version
                {
                    watched.version = numbers.version;
                    let frame = Frame::counts(post, numbers, watched.watchers());
                    self.fan_out(post, &frame, &hidden);
                }
                let next = self.registry.post(post).and_then(|watched| watched.counting.told(Instant::now()));
                if let Some((delay, round)) = next {
                    self.wait(post, delay, round);
                }
                if again {
                    self.changed(post, Change::Numbers);
                }
            }
        }
        self.making -= 1;
    }

    /// One frame to all watchers that it is not hidden from.
    fn fan_out(&mut self, post: PostId, frame: &Frame, hidden: &HashSet<UserId>) {
        let Some(watched) = self.registry.post(post) else { return };
        for (user, outbox) in watched.outboxes() {
            if hidden.is_empty() || !hidden.contains(user) {
                outbox.push(frame);
            }
        }
    }

    fn count_post(&mut self, post: PostId, round: u64) {
        let Some(watched) = self.registry.post(post) else { return };
        if !watched.counting.due(round) {
            return;
        }
        let (author, viewers, pages) = (watched.author, watched.users(), Arc::clone(&self.above.pages));
        self.make(async move {
            let made = async {
                let Some(numbers) = pages.numbers(post).await? else { return Ok(None) };
                Ok::<_, Refusal>(Some((numbers, hidden_from(pages.as_ref(), author, &viewers).await?)))
            };
            match made.await {
                Ok(counts) => Made::Counts { post, counts, again: false },
                Err(refusal) => {
                    tracing::debug!(post.id = %post, code = refusal.code, "the counts of a watched post could not be read");
                    Made::Counts { post, counts: None, again: true }
                }
            }
        });
    }

    /// These people's sessions read the entries themselves.
    fn note(&self, told: &[Told]) {
        for told in told {
            self.registry.of_user(told.user).for_each(|outbox| outbox.note_entry(told.seq));
        }
    }

    /// Hints were lost: nobody knows whose.
    pub(super) fn look_everywhere(&mut self) {
        tracing::warn!("hints were lost: all sockets look for themselves");
        self.registry.sockets().for_each(|(_, socket)| socket.outbox.note_loss());
        for post in self.registry.posts() {
            self.changed(post, Change::Numbers);
        }
    }

    fn is_busy(&self) -> bool {
        self.making >= MAKING_MAX
    }

    fn make(&mut self, making: impl Future<Output = Made> + 'static) {
        self.making += 1;
        let made = self.made.clone();
        // Not in the actor's context, which polls all that it holds each time one of them is ready.
        actix::spawn(async move {
            let _hub_gone = made.send(making.await).await;
        });
    }

    pub(super) fn wait(&self, post: PostId, delay: Duration, round: u64) {
        let made = self.made.clone();
        actix::spawn(async move {
            tokio::time::sleep(delay).await;
            let _hub_gone = made.send(Made::Due { post, round }).await;
        });
    }
}

/// Who may not see it. Whom it is hidden from must be known before anybody is told.
async fn hidden_from(pages: &dyn Pages, author: UserId, viewers: &[UserId]) -> Result<HashSet<UserId>, Refusal> {
    if planted("stream::tell_everybody") {
        return Ok(HashSet::new());
    }
    pages.hidden_from(author, viewers).await
}
