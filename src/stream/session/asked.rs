//! What a client asks for, one op after another.

use std::sync::Arc;

use actix::prelude::*;
use actix_ws::{Item, Message};

use super::{Session, TRY_AGAIN_AFTER};
use crate::stream::close_code::CloseCode;
use crate::stream::frame::Frame;
use crate::stream::op::{NotAnOp, Op};
use crate::stream::ports::{Refusal, Unsigned};
use crate::vocabulary::ids::PostId;

impl Session {
    pub(super) fn hear(&mut self, message: Message, context: &mut Context<Self>) {
        let text = match message {
            Message::Text(text) => return self.obey(&text, context),
            Message::Continuation(Item::FirstText(bytes)) => self.parts.begin(&bytes).map(|()| None),
            Message::Continuation(Item::Continue(bytes)) => self.parts.add(&bytes).map(|()| None),
            Message::Continuation(Item::Last(bytes)) => self.parts.end(&bytes).map(Some),
            Message::Binary(_) | Message::Continuation(Item::FirstBinary(_)) => Err(CloseCode::BadFrame),
            Message::Ping(bytes) => {
                self.outbox.push(&Frame::pong_to(&bytes));
                Ok(None)
            }
            Message::Pong(_) | Message::Close(_) | Message::Nop => Ok(None),
        };
        match text {
            Ok(Some(text)) => self.obey(&text, context),
            Ok(None) => {}
            Err(code) => self.outbox.close(code),
        }
    }

    fn obey(&mut self, text: &str, context: &mut Context<Self>) {
        let signed_in = self.signed.is_some();
        match Op::parse(text) {
            Err(NotAnOp::Unknown) => self.outbox.close(CloseCode::BadFrame),
            Ok(Op::Auth { token }) => self.sign_in(token, context),
            // The first frame says who it is, or the socket is nobody's.
            _ if !signed_in => self.outbox.close(CloseCode::NotSignedIn),
            Err(NotAnOp::Malformed(detail)) => self.refuse("malformed", detail),
            Ok(Op::Resume { epoch, after }) => self.resume(epoch, after, context),
            Ok(Op::Watch { post }) => self.watch(post, context),
            Ok(Op::Unwatch { post }) => self.unwatch(post, context),
            Ok(Op::Read { up_to }) => self.mark_read(up_to, context),
            Ok(Op::Ping) => self.outbox.push(&Frame::pong()),
        }
    }

    fn refuse(&self, code: &str, detail: &str) {
        self.outbox.push(&Frame::error(code, detail));
    }

    fn refused(&self, refusal: &Refusal) {
        self.refuse(refusal.code, &refusal.detail);
    }

    fn sign_in(&mut self, token: String, context: &mut Context<Self>) {
        let desk = Arc::clone(&self.desk);
        let judging = async move { desk.above.door.authenticate(&token).await };
        context.wait(judging.into_actor(self).map(|judged, session, context| match (judged, session.signed) {
            (Ok(signed), None) => session.enter(signed, context),
            (Ok(signed), Some(before)) if signed.user == before.user => {
                session.signed = Some(signed);
                session.arm(context);
                if signed.session != before.session {
                    session.renew(context);
                }
            }
            (Ok(_), Some(_)) => session.refuse("forbidden", "the token is of another user"),
            (Err(Unsigned::Refused), None) => session.outbox.close(CloseCode::NotSignedIn),
            (Err(Unsigned::Refused), Some(_)) => session.refuse("unauthenticated", "the token is not valid"),
            (Err(Unsigned::Unavailable), _) => session.refuse("unavailable", "the token cannot be judged now"),
        }));
    }

    /// The hub must know which sign-in the socket hangs on.
    fn renew(&mut self, context: &mut Context<Self>) {
        let Some(signed) = self.signed else { return };
        let (desk, socket) = (Arc::clone(&self.desk), self.socket);
        let renewing = async move { desk.renew(socket, signed.session).await };
        context.wait(renewing.into_actor(self).map(move |renewed, session, _| {
            if renewed.is_err() {
                session.outbox.close(CloseCode::GoingAway);
            } else if !session.desk.above.door.is_signed_in(&signed) {
                session.outbox.close(CloseCode::NotSignedIn);
            }
        }));
    }

    pub(super) fn watch(&mut self, post: PostId, context: &mut Context<Self>) {
        let Some(signed) = self.signed else { return };
        let (desk, socket) = (Arc::clone(&self.desk), self.socket);
        let watching = async move {
            let look = desk.above.pages.look(signed.user, post).await?;
            Ok::<_, Refusal>(desk.watch(socket, post, look).await)
        };
        context.wait(watching.into_actor(self).map(|watching, session, _| match watching {
            // The hub has answered the client itself.
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(_))) => session.outbox.close(CloseCode::TooMany),
            Ok(Err(_)) => session.refuse("unavailable", "there is too much to do"),
            Err(refusal) => session.refused(&refusal),
        }));
    }

    /// Counts of the post were dropped when there was no room. Nobody asked, so nobody is refused anything.
    pub(super) fn count_again(&mut self, post: PostId, context: &mut Context<Self>) {
        let Some(signed) = self.signed else { return };
        let (desk, socket) = (Arc::clone(&self.desk), self.socket);
        let counting = async move {
            let look = desk.above.pages.look(signed.user, post).await?;
            Ok::<_, Refusal>(desk.count_again(socket, post, look.numbers).await)
        };
        context.spawn(counting.into_actor(self).map(move |counted, session, context| match counted {
            Err(refusal) if refusal.code == "unavailable" => {
                session.outbox.note_uncounted(post);
                context.run_later(TRY_AGAIN_AFTER, Self::attend);
            }
            // There may be nothing to be counted any more. A hub that does not answer has told others less, too.
            _ => session.attend(context),
        }));
    }

    fn unwatch(&mut self, post: PostId, context: &mut Context<Self>) {
        let (desk, socket) = (Arc::clone(&self.desk), self.socket);
        let leaving = async move { desk.unwatch(socket, post).await };
        context.wait(leaving.into_actor(self).map(|left, session, _| {
            if left.is_err() {
                session.refuse("unavailable", "there is too much to do");
            }
        }));
    }

    fn mark_read(&mut self, up_to: u64, context: &mut Context<Self>) {
        let Some(signed) = self.signed else { return };
        let desk = Arc::clone(&self.desk);
        let marking = async move { desk.above.inboxes.mark_read(signed.user, up_to).await };
        context.wait(marking.into_actor(self).map(|marked, session, _| {
            if let Err(refusal) = marked {
                session.refused(&refusal);
            }
        }));
    }
}
