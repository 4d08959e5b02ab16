//! `sosik tail`: prints a stream, an event a line, and comes back by itself where it left off.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::{Message, WebSocketConfig};

use super::{CliError, say};
use crate::stream::close_code::CloseCode;

/// The first wait before it comes back, if the server named none.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A connection that held so long was a good one: the next wait is a short one again.
const GOOD_AFTER: Duration = Duration::from_secs(60);
/// Above the pause between two pings of the server: with nothing for so long, the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// No event is longer.
const FRAME_BYTES_MAX: usize = 1 << 20;

/// Below what a client may send in a second.
const OPS_AT_ONCE: usize = 15;

/// What to print.
pub(super) struct Tail {
    /// `http://…` or `https://…`.
    pub(super) url: String,
    pub(super) token: String,
    pub(super) watch: Vec<String>,
    /// Where to begin: epoch and number.
    pub(super) after: Option<(String, u64)>,
}

/// How a connection ended.
enum Ended {
    /// Come back after this, or after one's own wait.
    ComeBack(Option<Duration>),
    Final(String),
}

/// Prints until the server says that coming back is of no use.
pub(super) async fn tail(mut tail: Tail) -> Result<(), CliError> {
    let mut wait = RETRY_FIRST;
    loop {
        let began = Instant::now();
        let named = match tail.follow().await {
            Ended::Final(reason) => return Err(CliError::Refused(reason)),
            Ended::ComeBack(named) => named,
        };
        if began.elapsed() > GOOD_AFTER {
            wait = RETRY_FIRST;
        }
        tokio::time::sleep(named.unwrap_or(wait)).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

impl Tail {
    async fn follow(&mut self) -> Ended {
        let address = match self.url.strip_prefix("http") {
            Some(rest) => format!("ws{}/v1/stream", rest.trim_end_matches('/')),
            None => return Ended::Final(format!("{}: expected http://… or https://…", self.url)),
        };
        let Ok(mut request) = address.as_str().into_client_request() else { return Ended::Final(format!("{address}: not an address")) };
        let Ok(bearer) = HeaderValue::try_from(format!("Bearer {}", self.token)) else { return Ended::Final("not a token".to_owned()) };
        request.headers_mut().insert(AUTHORIZATION, bearer);
        let config = WebSocketConfig::default().max_message_size(Some(FRAME_BYTES_MAX));
        let mut socket = match connect_async_with_config(request, Some(config), true).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(response)) if response.status() == StatusCode::UNAUTHORIZED => {
                return Ended::Final("the token is not valid, or not any more".to_owned());
            }
            Err(error) => {
                note(&format!("could not connect: {error}"));
                return Ended::ComeBack(None);
            }
        };
        let resume = self.after.as_ref().map(|(epoch, after)| json!({"op": "resume", "epoch": epoch, "after": after}));
        let watches = self.watch.iter().map(|post| json!({"op": "watch", "post": post}));
        for (number, op) in resume.into_iter().chain(watches).collect::<Vec<_>>().into_iter().enumerate() {
            if number % OPS_AT_ONCE == OPS_AT_ONCE - 1 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            if socket.send(Message::text(op.to_string())).await.is_err() {
                return Ended::ComeBack(None);
            }
        }
        let mut named = None;
        while let Ok(Some(Ok(message))) = tokio::time::timeout(SILENCE_MAX, socket.next()).await {
            match message {
                Message::Text(text) => named = self.print(&text).or(named),
                Message::Close(frame) => {
                    let code = frame.as_ref().map_or(0, |frame| frame.code.into());
                    let reason = frame.map(|frame| frame.reason.to_string()).unwrap_or_default();
                    note(&format!("closed with {code}: {reason}"));
                    return if is_final(code) { Ended::Final(reason) } else { Ended::ComeBack(named) };
                }
                _ => {}
            }
        }
        Ended::ComeBack(named)
    }

    /// Prints an event and remembers how far it came. `Some`: the server said when to come back.
    fn print(&mut self, text: &str) -> Option<Duration> {
        say(text);
        let event: Value = serde_json::from_str(text).ok()?;
        let seq = event["seq"].as_u64();
        match event["event"].as_str()? {
            "hello" if self.after.is_none() => self.after = Some((event["epoch"].as_str()?.to_owned(), seq?)),
            "reset" => self.after = Some((event["epoch"].as_str()?.to_owned(), seq?)),
            // Only the entry that follows counts; another one comes again.
            "notification" => {
                if let Some((_, after)) = &mut self.after
                    && seq == Some(*after + 1)
                {
                    *after += 1;
                }
            }
            "bye" => return event["retry_ms"].as_u64().map(Duration::from_millis),
            _ => {}
        }
        None
    }
}

/// What is no event, for who looks on: on standard error.
fn note(text: &str) {
    eprintln!("sosik: {text}");
}

/// After these the same client would only be closed again.
fn is_final(code: u16) -> bool {
    let codes = [CloseCode::BadFrame, CloseCode::TooMany, CloseCode::FrameTooBig, CloseCode::NotSignedIn];
    codes.into_iter().any(|known| known.code() == code)
}
