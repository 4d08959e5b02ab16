//! Why a socket is closed, as its client is told (RFC 6455, section 7.4, and our own from 4400 on): the one place that turns
//! what went wrong on a stream into a code.

/// The closed list of codes that the server closes with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseCode {
    /// The client said goodbye first.
    Normal,
    /// The server stops; come back, with `resume` and jitter.
    GoingAway,
    /// The bytes are no WebSocket frames.
    Protocol,
    /// A text frame is not UTF-8.
    NotUtf8,
    FrameTooBig,
    /// Not JSON, or no known op.
    BadFrame,
    /// Not, or no longer, signed in.
    NotSignedIn,
    /// No `auth` in time.
    NoAuth,
    /// Too many sockets of a user, or too many watches of a socket.
    TooMany,
    /// Too slow to read, or too many frames.
    TooFast,
}

impl CloseCode {
    pub const ALL: [Self; 10] = [
        Self::Normal,
        Self::GoingAway,
        Self::Protocol,
        Self::NotUtf8,
        Self::FrameTooBig,
        Self::BadFrame,
        Self::NotSignedIn,
        Self::NoAuth,
        Self::TooMany,
        Self::TooFast,
    ];

    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::Protocol => 1002,
            Self::NotUtf8 => 1007,
            Self::FrameTooBig => 1009,
            Self::BadFrame => 4400,
            Self::NotSignedIn => 4401,
            Self::NoAuth => 4408,
            Self::TooMany => 4413,
            Self::TooFast => 4429,
        }
    }

    /// The label of the metric.
    pub fn label(self) -> &'static str {
        match self {
            Self::Normal => "1000",
            Self::GoingAway => "1001",
            Self::Protocol => "1002",
            Self::NotUtf8 => "1007",
            Self::FrameTooBig => "1009",
            Self::BadFrame => "4400",
            Self::NotSignedIn => "4401",
            Self::NoAuth => "4408",
            Self::TooMany => "4413",
            Self::TooFast => "4429",
        }
    }

    /// What a person reads in the close frame; at most 123 bytes.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::GoingAway => "the server stops: come back later and resume",
            Self::Protocol => "not a WebSocket frame",
            Self::NotUtf8 => "a text frame is not UTF-8",
            Self::FrameTooBig => "a frame has at most 4 KiB",
            Self::BadFrame => "not JSON, or no known op",
            Self::NotSignedIn => "not, or no longer, signed in",
            Self::NoAuth => "no auth in time",
            Self::TooMany => "too many sockets or watches",
            Self::TooFast => "too slow, or too many frames: come back and resume after the last seq that you have",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_its_own_label_and_its_reason_fits_into_a_control_frame() {
        for code in CloseCode::ALL {
            assert_eq!(code.label(), code.code().to_string());
            assert!(code.reason().len() <= 123, "{code:?}");
        }
    }
}
