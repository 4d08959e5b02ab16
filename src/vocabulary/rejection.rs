//! Why a write was refused for good.

/// The closed list of reasons. It is stored in event rows and kept writes: append only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Rejection {
    /// What it names does not exist, or not for this author.
    NotFound,
    /// What it names was deleted.
    Gone,
    /// Only the author of a post or comment may do that; or one of the two has blocked the other.
    Forbidden,
    /// `If-Match` no longer holds.
    PreconditionFailed,
    /// The username is taken.
    UsernameTaken,
    /// The foreign subject already has a user.
    SubjectTaken,
    /// The session has ended, or its refresh token was used twice.
    SessionEnded,
    /// An operator discarded it after it could not be applied.
    Discarded,
}
