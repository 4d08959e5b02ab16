//! From a hint to frames: what must be read is read beside the hub, so that it goes on telling meanwhile, and comes back as
//! [`Made`].

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::registry::{ToldCounts, Viewers};
use super::{LOOK_EVERY, MAKING_MAX, StreamHub};
use crate::stream::close_code::CloseCode;
use crate::stream::frame::Frame;
use crate::stream::ports::{Pages, Refusal, SharedLine, Sight};
use crate::stream::watch::Change;
use crate::substrate::bus::{Hint, PostNews, Told};
use crate::support::faults::planted;
use crate::vocabulary::ids::{Position, PostId, UserId};

/// What was read for a hint, or waited for.
pub(super) enum Made {
    /// The line that these people are told of; `None` if it could not be read.
    Line { told: Vec<Told>, line: Option<SharedLine> },
    /// Something for the watchers of a post; `None` if it could not be read.
    News { post: PostId, news: Option<(Frame, Audience)> },
    /// The counts of a post, or that it is deleted; `None` if they could not be read.
    Counts { post: PostId, counts: Option<(Sight, Audience)> },
    /// Counts are due.
    Due { post: PostId, round: u64 },
    /// All sockets are to look.
    Look,
}

/// Whom something may be shown to: those who watched when it was found out, but for those it is hidden from.
pub(super) struct Audience {
    hidden: HashSet<UserId>,
    last: u64,
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
                self.registry.of_user(*user).for_each(|outbox| outbox.push_withdrawal(*seq, &frame));
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
            Hint::Missed => self.look_everywhere(),
        }
    }

    /// The frame is made only if somebody hears it.
    fn tell_user(&self, user: UserId, frame: impl FnOnce() -> Option<Frame>) {
        if !self.registry.has_user(user) {
            return;
        }
        let Some(frame) = frame() else { return };
        self.registry.of_user(user).for_each(|outbox| outbox.push(&frame));
    }

    fn tell_post(&mut self, post: PostId, position: Position, news: PostNews) {
        let busy = self.is_busy();
        let Some(author) = self.registry.post(post).map(|watched| watched.author) else { return };
        // Whoever counts a deleted post finds that it is, and tries until all have heard: it is what ends the watching.
        if matches!(news, PostNews::Counts | PostNews::Deleted) {
            return self.changed(post, Change::Numbers);
        }
        let (viewers, pages) = (self.registry.viewers(post), Arc::clone(&self.above.pages));
        match news {
            _ if busy => metrics::counter!("sosik_stream_news_dropped_total").increment(1),
            PostNews::Edited => self.make(async move {
                let made = async {
                    let Some(json) = pages.post(post).await? else { return Ok(None) };
                    let audience = audience(pages.as_ref(), author, viewers).await?;
                    Ok::<_, Refusal>(Some((Frame::post(post, position, "edited", Some(&json)), audience)))
                };
                Made::News { post, news: made.await.ok().flatten() }
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
                        let audience = audience(pages.as_ref(), author, viewers).await?;
                        Ok::<_, Refusal>(Some((Frame::comment(post, position, action, &json), audience)))
                    };
                    Made::News { post, news: made.await.ok().flatten() }
                });
            }
            PostNews::Counts | PostNews::Deleted => {}
        }
        self.changed(post, Change::Numbers);
    }

    pub(super) fn tell_made(&mut self, made: Made) {
        match made {
            Made::Due { post, round } => return self.count_post(post, round),
            Made::Look => {
                self.look_waits = false;
                return self.look_now();
            }
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
            Made::News { post, news } => {
                if let Some((frame, audience)) = news {
                    self.fan_out(post, &frame, &audience);
                }
            }
            Made::Counts { post, counts } => {
                let again = counts.is_none();
                match counts {
                    Some((Sight::Numbers(numbers), audience)) => {
                        if let Some(watched) = self.registry.post(post) {
                            let told = ToldCounts { version: numbers.version, watchers: watched.watchers(), last: audience.last };
                            if watched.told.is_none_or(|before| before != told && before.version <= told.version) {
                                watched.told = Some(told);
                                self.fan_out(post, &Frame::counts(post, numbers, told.watchers), &audience);
                            }
                        }
                    }
                    Some((Sight::Deleted(position), audience)) => {
                        self.fan_out(post, &Frame::post(post, position, "deleted", None), &audience);
                        self.registry.end_post(post);
                        self.count();
                    }
                    Some((Sight::Unseen, _)) | None => {}
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

    /// One frame to all watchers that it may be shown to.
    fn fan_out(&mut self, post: PostId, frame: &Frame, Audience { hidden, last }: &Audience) {
        let Some(watched) = self.registry.post(post) else { return };
        for (user, outbox) in watched.outboxes(*last) {
            if hidden.is_empty() || !hidden.contains(&user) {
                outbox.push(frame);
            }
        }
    }

    fn count_post(&mut self, post: PostId, round: u64) {
        let Some(watched) = self.registry.post(post) else { return };
        if !watched.counting.due(round) {
            return;
        }
        let author = watched.author;
        let (viewers, pages) = (self.registry.viewers(post), Arc::clone(&self.above.pages));
        self.make(async move {
            let made = async {
                let sight = pages.numbers(post).await?;
                Ok::<_, Refusal>((sight, audience(pages.as_ref(), author, viewers).await?))
            };
            let unread =
                |refusal: &Refusal| tracing::debug!(post.id = %post, code = refusal.code, "the counts of a watched post could not be read");
            Made::Counts { post, counts: made.await.inspect_err(unread).ok() }
        });
    }

    /// These people's sessions read the entries themselves.
    fn note(&self, told: &[Told]) {
        for told in told {
            self.registry.of_user(told.user).for_each(|outbox| outbox.note_entry(told.seq));
        }
    }

    /// Hints were lost: nobody knows whose. Looks that come too often would make more hints late, and those would be lost, too.
    pub(super) fn look_everywhere(&mut self) {
        let wait = self.looked_at.map_or(Duration::ZERO, |looked| LOOK_EVERY.saturating_sub(looked.elapsed()));
        if wait.is_zero() {
            self.look_now();
        } else if !std::mem::replace(&mut self.look_waits, true) {
            self.later(wait, Made::Look);
        }
    }

    fn look_now(&mut self) {
        self.looked_at = Some(Instant::now());
        metrics::counter!("sosik_stream_looks_total").increment(1);
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
        self.later(delay, Made::Due { post, round });
    }

    fn later(&self, delay: Duration, then: Made) {
        let made = self.made.clone();
        actix::spawn(async move {
            tokio::time::sleep(delay).await;
            let _hub_gone = made.send(then).await;
        });
    }
}

/// Who may see it. Whom it is hidden from must be known before anybody is told.
async fn audience(pages: &dyn Pages, author: UserId, viewers: Viewers) -> Result<Audience, Refusal> {
    if planted("stream::tell_everybody") {
        return Ok(Audience { hidden: HashSet::new(), last: u64::MAX });
    }
    Ok(Audience { hidden: pages.hidden_from(author, &viewers.users).await?, last: viewers.last })
}
