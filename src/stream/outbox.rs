//! What waits for one socket, and how far its user's inbox was sent to it.
//!
//! Frames go in from the hub and from the session, one reader (the writer of the socket) takes them out. Entries of the inbox leave
//! strictly in order: a live one goes in only if it is the next; anything else is a hole, which the session fills from the inbox.
//! Full: counts go first, and are asked for again when there is room; then the socket is closed. Nobody who puts a frame in ever waits.
//!
//! History counts as slowness for nobody: it is read in pages, and a page only while there is room (see [`Outbox::wanted`]).

mod flow;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use super::close_code::CloseCode;
use super::frame::{Frame, Kind};
use crate::support::faults::planted;
use crate::support::lock::lock;
use crate::vocabulary::ids::PostId;

use flow::Flow;
pub use flow::Line;

/// Entries that are read from the inbox at once; fewer where few frames may wait.
const HISTORY_PAGE: usize = 64;
/// Frames that may still wait when the next page of history is read; fewer, likewise.
const HISTORY_BELOW: usize = 32;
/// Withdrawals that wait for their entries, which are on their way by another path.
const WITHDRAWALS_AHEAD_MAX: usize = 16;
/// An empty queue keeps no more room than this, since most sockets are idle.
const IDLE_ROOM: usize = 4;

/// The bounds of `stream.outbox_frames`, `stream.outbox_bytes` and `stream.watches_per_socket`.
#[derive(Debug, Clone, Copy)]
pub struct OutboxBounds {
    pub frames: usize,
    pub bytes: usize,
    /// Posts whose counts were dropped and are to be asked for again.
    pub posts: usize,
}

impl OutboxBounds {
    /// A page fits with room to spare, however few frames may wait.
    fn page(self) -> usize {
        (self.frames / 4).clamp(1, HISTORY_PAGE)
    }

    fn below(self) -> usize {
        (self.frames / 8).min(HISTORY_BELOW)
    }
}

/// Whether frames still go in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// No more frames go in; those that wait are still sent, the close frame last.
    Closing(CloseCode),
    /// As soon as nothing waits the connection is cut.
    Cut,
    /// The connection is gone.
    Gone,
}

/// What the session is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Nothing,
    /// Read what comes after this number. To be given back with the same turn.
    History {
        after: u64,
        turn: u64,
    },
    /// Ask for the counts of this post: some were dropped when there was no room.
    Counts(PostId),
    /// Look whether the inbox is ahead, and whether its user is still signed in: hints were lost.
    Look,
    /// The socket is being closed: wait a little for the client's goodbye.
    Closing(CloseCode),
    /// The connection is gone.
    Stop,
}

/// What the writer of the socket finds.
#[derive(Debug)]
pub enum Next {
    Frame(Frame),
    /// Everything is sent and nothing follows; a WebSocket still waits for the client's goodbye.
    Ended,
    /// Cut the connection.
    Cut,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Frame>,
    bytes: usize,
    flow: Flow,
    end: End,
    /// Entries that were withdrawn before they came here, with what is told of it.
    ahead: VecDeque<(u64, Frame)>,
    uncounted: Vec<PostId>,
    /// Hints were lost.
    look: bool,
    /// Something for the session to ask about with [`Outbox::wanted`].
    news: bool,
    epoch: Option<Arc<str>>,
    writer: Option<Waker>,
    session: Option<Waker>,
}

/// One per socket; shared by its session, its writer and the hub.
#[derive(Debug)]
pub struct Outbox {
    bounds: OutboxBounds,
    state: Mutex<State>,
}

impl Outbox {
    pub fn new(bounds: OutboxBounds) -> Self {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            flow: Flow::default(),
            end: End::Open,
            ahead: VecDeque::new(),
            uncounted: Vec::new(),
            look: false,
            news: false,
            epoch: None,
            writer: None,
            session: None,
        };
        Self { bounds, state: Mutex::new(state) }
    }

    /// Puts a frame at the end, if the socket still takes frames.
    pub fn push(&self, frame: &Frame) {
        let mut state = lock(&self.state);
        state.push(frame, self.bounds);
        state.wake();
    }

    /// A live entry of the user's inbox. It is sent if it is the next; else it is known to be there.
    pub fn push_entry(&self, seq: u64, frame: &Frame) {
        let mut state = lock(&self.state);
        if state.flow.takes(seq) {
            state.push(frame, self.bounds);
            if let Some(withdrawal) = state.withdrawal_of(seq) {
                state.push(&withdrawal, self.bounds);
            }
        } else {
            state.notice_hole();
        }
        state.wake();
    }

    /// An entry was withdrawn. Its own frame, which may still be on its way, goes first.
    pub fn push_withdrawal(&self, seq: u64, frame: &Frame) {
        let mut state = lock(&self.state);
        let last = state.flow.last();
        if last.is_some_and(|last| seq <= last) {
            state.push(frame, self.bounds);
        } else {
            state.ahead.retain(|(waiting, _)| last.is_none_or(|last| *waiting > last));
            if state.ahead.len() == WITHDRAWALS_AHEAD_MAX {
                state.ahead.pop_front();
            }
            state.ahead.push_back((seq, frame.clone()));
        }
        state.wake();
    }

    /// The counts of a post were dropped, and could not be told again yet.
    pub fn note_uncounted(&self, post: PostId) {
        lock(&self.state).note_uncounted(post, self.bounds);
    }

    /// The inbox is known to go up to this entry.
    pub fn note_entry(&self, seq: u64) {
        let mut state = lock(&self.state);
        state.flow.heard(seq);
        state.notice_hole();
        state.wake();
    }

    /// Hints were lost: the session must look itself.
    pub fn note_loss(&self) {
        let mut state = lock(&self.state);
        state.look = true;
        state.news = true;
        state.wake();
    }

    /// The number of the last entry that was put in; what a client that got everything resumes from.
    pub fn last_seq(&self) -> Option<u64> {
        lock(&self.state).flow.last()
    }

    pub fn epoch(&self) -> Option<Arc<str>> {
        lock(&self.state).epoch.clone()
    }

    /// How many entries a page of history has at most.
    pub fn page(&self) -> usize {
        self.bounds.page()
    }

    /// The inbox stands at `seq` in `epoch`, and the client has it up to `after`: entries flow from there on. The frames (`hello`, `reset`) go first.
    pub fn begin(&self, frames: &[Frame], epoch: &str, after: u64, seq: u64) {
        let mut state = lock(&self.state);
        state.epoch = Some(epoch.into());
        frames.iter().for_each(|frame| state.push(frame, self.bounds));
        state.flow.go_on(Some(after), seq);
        state.notice_hole();
        state.wake();
    }

    /// From now on no entry is sent, until [`Outbox::go_on`]: what waits of them is taken back.
    pub fn hold(&self) {
        let mut state = lock(&self.state);
        let State { queue, bytes, flow, .. } = &mut *state;
        queue.retain(|frame| {
            let goes = matches!(frame.kind(), Kind::Notification(_));
            if goes {
                *bytes -= frame.weight();
            }
            !goes
        });
        flow.hold();
    }

    /// Sends what comes after `after`, which is at most what the inbox has (`seq`); `None`: after what was sent already.
    pub fn go_on(&self, after: Option<u64>, seq: u64) {
        let mut state = lock(&self.state);
        state.flow.go_on(after, seq);
        state.notice_hole();
        state.wake();
    }

    /// A page of the inbox that was asked for by [`Wanted::History`]. `false`: what comes next is not kept any more.
    pub fn fill(&self, turn: u64, lines: Vec<Line>) -> bool {
        let mut state = lock(&self.state);
        if state.end != End::Open {
            // Nothing follows the close frame.
            return true;
        }
        let whole = lines.len() < self.bounds.page();
        let mut kept = true;
        for line in lines {
            match state.flow.fills(turn, line.seq) {
                flow::Fills::Next => {
                    state.put(&line.frame);
                    if let Some(withdrawal) = state.withdrawal_of(line.seq) {
                        state.put(&withdrawal);
                    }
                }
                flow::Fills::Known => {}
                flow::Fills::Missing => {
                    kept = false;
                    break;
                }
            }
        }
        if kept && whole {
            state.flow.filled(turn);
        } else {
            state.flow.unread(turn);
        }
        state.news = true;
        state.wake();
        kept
    }

    /// The page could not be read: it is wanted again.
    pub fn fill_failed(&self, turn: u64) {
        lock(&self.state).flow.unread(turn);
    }

    /// No more frames; after those that wait the close frame. A socket that is too slow loses what waits.
    pub fn close(&self, code: CloseCode) {
        let mut state = lock(&self.state);
        state.close(code);
        state.wake();
    }

    /// Cuts the connection once nothing waits.
    pub fn cut(&self) {
        let mut state = lock(&self.state);
        if state.end != End::Gone {
            state.end = End::Cut;
        }
        state.wake();
    }

    /// The connection is gone; called by the writer's end.
    pub fn gone(&self) {
        let mut state = lock(&self.state);
        state.end = End::Gone;
        state.empty();
        state.news = true;
        state.wake();
    }

    /// Frames that wait.
    pub fn depth(&self) -> usize {
        lock(&self.state).queue.len()
    }

    /// What the session shall do now.
    pub fn wanted(&self) -> Wanted {
        let mut state = lock(&self.state);
        match state.end {
            End::Closing(code) => return Wanted::Closing(code),
            End::Cut | End::Gone => return Wanted::Stop,
            End::Open => {}
        }
        if std::mem::take(&mut state.look) {
            return Wanted::Look;
        }
        if state.queue.len() > self.bounds.below() || state.bytes > self.bounds.bytes / 2 {
            return Wanted::Nothing;
        }
        if let Some(post) = state.uncounted.pop() {
            return Wanted::Counts(post);
        }
        state.flow.read().map_or(Wanted::Nothing, |(after, turn)| Wanted::History { after, turn })
    }

    /// Ready when [`Outbox::wanted`] has something new to say.
    pub fn poll_news(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if std::mem::take(&mut state.news) {
            return Poll::Ready(());
        }
        remember(&mut state.session, context);
        Poll::Pending
    }

    /// The next frame for the socket.
    pub fn poll_next(&self, context: &Context<'_>) -> Poll<Next> {
        let mut state = lock(&self.state);
        if let Some(frame) = state.take(self.bounds.below()) {
            return Poll::Ready(Next::Frame(frame));
        }
        match state.end {
            End::Cut | End::Gone => return Poll::Ready(Next::Cut),
            End::Closing(_) => return Poll::Ready(Next::Ended),
            End::Open => {}
        }
        remember(&mut state.writer, context);
        Poll::Pending
    }

    /// Calls the writer when the connection is to be cut: for a WebSocket whose frames are all sent.
    pub fn poll_cut(&self, context: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if matches!(state.end, End::Cut | End::Gone) {
            return Poll::Ready(());
        }
        remember(&mut state.writer, context);
        Poll::Pending
    }
}

fn remember(place: &mut Option<Waker>, context: &Context<'_>) {
    if !place.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
        *place = Some(context.waker().clone());
    }
}

impl State {
    fn push(&mut self, frame: &Frame, bounds: OutboxBounds) {
        if self.end != End::Open {
            return;
        }
        if let Kind::Counts(post) = frame.kind() {
            self.uncounted.retain(|uncounted| *uncounted != post);
        }
        if let Kind::Counts(post) = frame.kind()
            && let Some(older) = self.queue.iter_mut().find(|older| older.kind() == Kind::Counts(post))
        {
            self.bytes = self.bytes + frame.weight() - older.weight();
            *older = frame.clone();
            return;
        }
        if self.is_full(frame, bounds) {
            self.drop_counts(bounds);
            if let Kind::Counts(post) = frame.kind() {
                return self.note_uncounted(post, bounds);
            }
            if self.is_full(frame, bounds) {
                return self.close(CloseCode::TooFast);
            }
        }
        self.put(frame);
    }

    fn put(&mut self, frame: &Frame) {
        self.bytes += frame.weight();
        self.queue.push_back(frame.clone());
    }

    fn is_full(&self, frame: &Frame, bounds: OutboxBounds) -> bool {
        (self.queue.len() >= bounds.frames || self.bytes + frame.weight() > bounds.bytes) && !planted("outbox::unbounded")
    }

    fn drop_counts(&mut self, bounds: OutboxBounds) {
        let (bytes, mut dropped) = (&mut self.bytes, Vec::new());
        self.queue.retain(|frame| match frame.kind() {
            Kind::Counts(post) => {
                *bytes -= frame.weight();
                dropped.push(post);
                false
            }
            _ => true,
        });
        metrics::counter!("sosik_stream_counts_dropped_total").increment(dropped.len() as u64 + 1);
        dropped.into_iter().for_each(|post| self.note_uncounted(post, bounds));
    }

    fn note_uncounted(&mut self, post: PostId, bounds: OutboxBounds) {
        if self.uncounted.contains(&post) {
            return;
        }
        if self.uncounted.len() >= bounds.posts {
            // More than the socket watches: the oldest is of one that it left.
            self.uncounted.remove(0);
        }
        self.uncounted.push(post);
        self.news = true;
    }

    /// What is to be told right behind this entry, if it was withdrawn meanwhile.
    fn withdrawal_of(&mut self, seq: u64) -> Option<Frame> {
        let at = self.ahead.iter().position(|(withdrawn, _)| *withdrawn == seq)?;
        self.ahead.remove(at).map(|(_, frame)| frame)
    }

    fn close(&mut self, code: CloseCode) {
        if self.end != End::Open {
            return;
        }
        metrics::counter!("sosik_stream_closes_total", "code" => code.label()).increment(1);
        if code == CloseCode::TooFast {
            self.empty();
        }
        self.put(&Frame::close(code));
        self.end = End::Closing(code);
        self.news = true;
    }

    fn empty(&mut self) {
        self.queue = VecDeque::new();
        self.bytes = 0;
    }

    fn take(&mut self, below: usize) -> Option<Frame> {
        let frame = self.queue.pop_front()?;
        self.bytes -= frame.weight();
        self.flow.sent(frame.kind());
        if self.queue.is_empty() && self.queue.capacity() > IDLE_ROOM {
            self.queue = VecDeque::new();
        }
        if self.queue.len() == below || self.queue.is_empty() {
            self.notice_hole();
            if self.news
                && let Some(waker) = self.session.take()
            {
                waker.wake();
            }
        }
        Some(frame)
    }

    fn notice_hole(&mut self) {
        if self.flow.is_behind() || !self.uncounted.is_empty() {
            self.news = true;
        }
    }

    /// Wakes whoever has something to do.
    fn wake(&mut self) {
        if (!self.queue.is_empty() || self.end != End::Open)
            && let Some(waker) = self.writer.take()
        {
            waker.wake();
        }
        if self.news
            && let Some(waker) = self.session.take()
        {
            waker.wake();
        }
    }
}
